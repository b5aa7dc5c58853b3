package dev.postcopy.source.cli;

import dev.postcopy.source.precopy.PrecopyMode;
import dev.postcopy.source.session.PrecopyOptions;
import dev.postcopy.source.session.SourceDaemon;
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
import tools.jackson.databind.node.ObjectNode;

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
    return new PrecopyOptions(
        mode,
        Duration.ofMillis(downtimeLimitMillis()),
        switchAfterMillis == null ? OptionalInt.empty() : OptionalInt.of(switchAfterMillis),
        leavePaused);
  }

  /**
   * Puts what was said into a request to the agent that serves; all else is that agent's to say.
   */
  void putGiven(ObjectNode request) {
    if (isGiven("--precopy")) {
      request.put(SourceDaemon.PRECOPY, mode.text());
    }
    if (isGiven("--downtime-limit")) {
      request.put(SourceDaemon.DOWNTIME_LIMIT_MILLIS, downtimeLimitMillis());
    }
  }

  private boolean isGiven(String option) {
    return spec.commandLine().getParseResult().hasMatchedOption(option);
  }

  private int downtimeLimitMillis() {
    if (downtimeLimitMillis < 0) {
      throw new ParameterException(
          spec.commandLine(), "--downtime-limit takes milliseconds, not " + downtimeLimitMillis);
    }
    return downtimeLimitMillis;
  }

  /** Reads a mode as an operator writes it. */
  static final class ModeConverter implements ITypeConverter<PrecopyMode> {
    @Override
    public PrecopyMode convert(String text) {
      try {
        return PrecopyMode.parse(text);
      } catch (IllegalArgumentException e) {
        throw new TypeConversionException(e.getMessage());
      }
    }
  }
}
