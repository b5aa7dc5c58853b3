package dev.postcopy.transport.tls;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What an operator wants of TLS.
 *
 * @param folder where the certificates are; empty: in {@code defaultFolder}, if they are there
 * @param defaultFolder where they are looked for
 * @param insecure neither encryption nor authentication, also where certificates are
 */
public record TlsSettings(Optional<Path> folder, Path defaultFolder, boolean insecure) {

  /** Where packages put the certificates. */
  public static final Path DEFAULT_FOLDER = Path.of("/etc/postcopy/tls");

  private static final Logger log = LoggerFactory.getLogger(TlsSettings.class);

  /**
   * For an agent that listens.
   *
   * @return empty: without TLS
   * @throws Refusal where certificates are needed and are not there, or cannot be used
   */
  public Optional<TlsEndpoint> listening(HostAndPort address) {
    return folderFor(address).map(TlsEndpoint::listening);
  }

  /**
   * For an agent that connects.
   *
   * @param name which the destination's certificate must have; empty: the host's
   * @return empty: without TLS
   * @throws Refusal where certificates are needed and are not there, or cannot be used
   */
  public Optional<TlsEndpoint> connecting(HostAndPort address, Optional<String> name) {
    return folderFor(address)
        .map(found -> TlsEndpoint.connecting(found, name.orElse(address.host())));
  }

  private Optional<Path> folderFor(HostAndPort address) {
    if (insecure) {
      if (folder.isPresent()) {
        throw new Refusal("--insecure and --tls-dir exclude each other", "give one of them");
      }
      log.warn(
          "--insecure: guest memory crosses the network to or from {} without encryption, and"
              + " whoever can connect is believed",
          address);
      return Optional.empty();
    }
    if (folder.isPresent()) {
      return folder;
    }
    if (Files.exists(defaultFolder.resolve(TlsMaterial.CERTIFICATE))) {
      return Optional.of(defaultFolder);
    }
    if (!address.resolve().getAddress().isLoopbackAddress()) {
      throw new Refusal(
          "no certificates for TLS in %s, and %s is not this host alone"
              .formatted(defaultFolder, address),
          "name their folder with --tls-dir, or trust the network with --insecure");
    }
    return Optional.empty();
  }
}
