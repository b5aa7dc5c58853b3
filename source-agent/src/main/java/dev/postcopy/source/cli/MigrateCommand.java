package dev.postcopy.source.cli;

import dev.postcopy.cli.Bandwidth;
import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.linux.HostRefusal;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.session.MigrateOptions;
import dev.postcopy.source.session.MigrateSession;
import java.nio.file.Path;
import java.time.Duration;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** {@code source-agent migrate}: one guest, from here to there. */
@Command(
    name = "migrate",
    description = "Migrates the guest of a QEMU; exits when the destination has everything.",
    mixinStandardHelpOptions = true)
final class MigrateCommand implements Callable<Integer> {

  @Option(
      names = "--qmp",
      required = true,
      paramLabel = "SOCKET",
      description = "The QMP unix socket of the QEMU whose guest is to move.")
  private Path qmp = Path.of("");

  @Option(
      names = "--to",
      required = true,
      paramLabel = "HOST:PORT",
      converter = HostAndPort.Converter.class,
      description = "Where the destination agent listens.")
  private HostAndPort to = new HostAndPort("localhost", 0);

  @Option(
      names = "--connect-timeout",
      paramLabel = "SECONDS",
      defaultValue = "10",
      description = "How long to try to connect (default: ${DEFAULT-VALUE}).")
  private int connectTimeoutSeconds;

  @Option(
      names = "--json",
      description = "Print the report as one JSON object, the last line on standard output.")
  private boolean json;

  @Option(
      names = "--max-bandwidth",
      paramLabel = "RATE",
      defaultValue = "unlimited",
      converter = Bandwidth.Converter.class,
      description = {
        "What pages that nobody waits for may use of the link, in bytes a second, like 100M",
        "(default: ${DEFAULT-VALUE}). Pages that somebody waits for are never limited."
      })
  private Bandwidth maxBandwidth = Bandwidth.UNLIMITED;

  @Option(
      names = "--bulk-window",
      hidden = true,
      paramLabel = "BYTES",
      description = "A fixed window instead of one that finds its size; for measurements.")
  private @Nullable Long bulkWindowBytes;

  @Option(
      names = "--push-order",
      hidden = true,
      defaultValue = "FROM_LAST_FAULT",
      description = "Where the push goes on; for measurements.")
  private PushOrder pushOrder = PushOrder.FROM_LAST_FAULT;

  @Spec private CommandSpec spec = CommandSpec.create();

  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    verbosity.apply();
    ProgressBar progress = new ProgressBar(System.err);
    MigrateSession session = new MigrateSession(options(), progress);
    return new CommandRunner(MigrateCommand::asRefusal)
        .run(
            json,
            session::cancel,
            () -> {
              try {
                return session.run();
              } finally {
                progress.end();
              }
            });
  }

  private MigrateOptions options() {
    if (connectTimeoutSeconds < 0) {
      throw new ParameterException(
          spec.commandLine(), "--connect-timeout takes seconds, not " + connectTimeoutSeconds);
    }
    if (bulkWindowBytes != null && bulkWindowBytes <= 0) {
      throw new ParameterException(
          spec.commandLine(), "--bulk-window takes bytes, not " + bulkWindowBytes);
    }
    return new MigrateOptions(
        qmp,
        to,
        Duration.ofSeconds(connectTimeoutSeconds),
        maxBandwidth.bytesPerSecond(),
        bulkWindowBytes == null ? OptionalLong.empty() : OptionalLong.of(bulkWindowBytes),
        pushOrder);
  }

  private static @Nullable Refusal asRefusal(RuntimeException thrown) {
    return thrown instanceof HostRefusal host ? new Refusal(host.reason(), host.remedy()) : null;
  }
}
