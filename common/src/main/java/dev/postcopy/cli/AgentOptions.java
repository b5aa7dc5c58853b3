package dev.postcopy.cli;

import java.nio.file.Path;
import java.time.Duration;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/** What every command takes that has to do with a migration, at either side. */
public final class AgentOptions {

  @Mixin private StateFolderOption state = new StateFolderOption();

  @Option(
      names = "--peer-timeout",
      paramLabel = "SECONDS",
      defaultValue = "5",
      converter = Seconds.class,
      description = {
        "How long the other side may give no sign of life before the connection is given up",
        "(default: ${DEFAULT-VALUE}). From the hand-over on a new one follows."
      })
  private Duration peerTimeout = Duration.ZERO;

  public Path stateFolder() {
    return state.folder();
  }

  /** How long the peer may be silent. */
  public Duration peerPatience() {
    return peerTimeout;
  }

  private static final class Seconds implements ITypeConverter<Duration> {
    @Override
    public Duration convert(String text) {
      try {
        int seconds = Integer.parseInt(text);
        if (seconds > 0) {
          return Duration.ofSeconds(seconds);
        }
      } catch (NumberFormatException e) {
        // Told below.
      }
      throw new TypeConversionException("expected seconds above 0, not '" + text + "'");
    }
  }
}
