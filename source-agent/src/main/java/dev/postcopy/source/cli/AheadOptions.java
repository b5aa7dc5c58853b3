package dev.postcopy.source.cli;

import dev.postcopy.source.precopy.PrecopyMode;
import dev.postcopy.source.session.PrecopyOptions;
import java.time.Duration;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;
import picocli.CommandLine.TypeConversionException;

/** What {@code migrate} takes about memory that goes ahead of the guest. */
final class AheadOptions {

  @Option(
      names = "--precopy",
      paramLabel = "auto|off|ROUNDS",
      defaultValue = "auto",
      converter = ModeConverter.class,
      description = {
        "How often memory is sent while the guest runs here: as long as it pays where the host can",
        "watch writes (Linux 6.7), not at all, or so many times (default: ${DEFAULT-VALUE})."
      })
  private PrecopyMode mode = new PrecopyMode.Auto();

  @Option(
      names = "--downtime-limit",
      paramLabel = "MS",
      defaultValue = "5",
      description = {
        "What is left of the memory goes across while the guest is stopped, if it takes no longer",
        "(default: ${DEFAULT-VALUE})."
      })
  private int downtimeLimitMillis;

  @Option(
      names = "--switch-after",
      hidden = true,
      paramLabel = "MS",
      description = "The guest goes over then, wherever the push is; for tests.")
  private @Nullable Integer switchAfterMillis;

  @Option(
      names = "--leave-paused",
      hidden = true,
      description = "A guest that runs is paused at the destination; for tests.")
  private boolean leavePaused;

  @Spec(Target.MIXEE)
  private CommandSpec spec = CommandSpec.create();

  PrecopyOptions options() {
    if (downtimeLimitMillis < 0) {
      throw new ParameterException(
          spec.commandLine(), "--downtime-limit takes milliseconds, not " + downtimeLimitMillis);
    }
    return new PrecopyOptions(
        mode,
        Duration.ofMillis(downtimeLimitMillis),
        switchAfterMillis == null ? OptionalInt.empty() : OptionalInt.of(switchAfterMillis),
        leavePaused);
  }

  /** Reads a mode as an operator writes it. */
  static final class ModeConverter implements ITypeConverter<PrecopyMode> {
    @Override
    public PrecopyMode convert(String text) {
      return switch (text) {
        case "auto" -> new PrecopyMode.Auto();
        case "off" -> new PrecopyMode.Off();
        default -> new PrecopyMode.Rounds(rounds(text));
      };
    }

    private static int rounds(String text) {
      try {
        int rounds = Integer.parseInt(text);
        if (rounds > 0) {
          return rounds;
        }
      } catch (NumberFormatException e) {
        // Said below.
      }
      throw new TypeConversionException("'" + text + "' is not auto, off, or a number of rounds");
    }
  }
}
