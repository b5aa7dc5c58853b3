package dev.postcopy.cli;

import dev.postcopy.transport.tls.TlsSettings;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How the connection between the agents is protected. */
public final class TlsOptions {

  @Option(
      names = "--tls-dir",
      paramLabel = "FOLDER",
      description = {
        "The folder with cert.pem, key.pem and ca.pem (default: /etc/postcopy/tls, where they are",
        "there). They are read again when they change."
      })
  private @Nullable Path folder;

  @Option(
      names = "--insecure",
      description = {
        "Plain TCP: guest memory is neither encrypted, nor is it known who sends or takes it.",
        "Needed without certificates, except on the loop-back address."
      })
  private boolean insecure;

  public TlsSettings toSettings() {
    return new TlsSettings(Optional.ofNullable(folder), TlsSettings.DEFAULT_FOLDER, insecure);
  }
}
