"""Certificates for both agents, made by openssl as docs/operations.md has it, of an authority that is thrown away."""

import subprocess

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make(folder, alternatives):
    """A folder for --tls-dir under `folder` for each name in `alternatives`, which has its owner's alternative name."""
    folder.mkdir()
    authority, authority_key = folder / "ca.pem", folder / "ca-key.pem"
    _openssl("req", "-x509", *KEY, "-keyout", authority_key, "-out", authority, "-days", "30", "-subj", "/CN=authority")
    for name, alternative in alternatives.items():
        target = folder / name
        target.mkdir()
        (target / "ca.pem").write_bytes(authority.read_bytes())
        _openssl("req", "-new", *KEY, "-keyout", target / "key.pem", "-out", target / "request.pem", "-subj", f"/CN={name}",
                 "-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"subjectAltName={alternative}")
        _openssl("x509", "-req", "-in", target / "request.pem", "-out", target / "cert.pem", "-days", "30",
                 "-CA", authority, "-CAkey", authority_key, "-copy_extensions", "copy")


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
