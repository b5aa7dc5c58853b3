package dev.postcopy.source.cli;

import dev.postcopy.cli.AgentOptions;
import dev.postcopy.cli.Bandwidth;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.TlsOptions;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.session.MigrateOptions;
import dev.postcopy.source.session.PrecopyOptions;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;

/** What {@code migrate}, {@code resume} and {@code serve} all take. */
final class CommonOptions {

  @Mixin private AgentOptions agent = new AgentOptions();

  @Option(
      names = "--connect-timeout",
      paramLabel = "SECONDS",
      defaultValue = "10",
      description = "How long to try to connect (default: ${DEFAULT-VALUE}).")
  private int connectTimeoutSeconds;

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

  @Option(
      names = "--tls-name",
      paramLabel = "NAME",
      description = {
        "The alternative name that the destination's certificate must have (default: the host in",
        "--to)."
      })
  private @Nullable String tlsName;

  @Mixin private TlsOptions tls = new TlsOptions();

  @Spec(Target.MIXEE)
  private CommandSpec spec = CommandSpec.create();

  Path stateFolder() {
    return agent.stateFolder();
  }

  Bandwidth maxBandwidth() {
    return maxBandwidth;
  }

  /**
   * @param qmp the source QEMU's QMP socket
   * @param vm the name by which the destination knows the guest; empty where it needs none
   * @param to where the destination agent listens
   * @param precopy what goes ahead
   */
  MigrateOptions with(Path qmp, String vm, HostAndPort to, PrecopyOptions precopy) {
    require(connectTimeoutSeconds >= 0, "--connect-timeout takes seconds", connectTimeoutSeconds);
    if (bulkWindowBytes != null) {
      require(bulkWindowBytes > 0, "--bulk-window takes bytes", bulkWindowBytes);
    }
    return new MigrateOptions(
        qmp,
        vm,
        to,
        agent.stateFolder(),
        Duration.ofSeconds(connectTimeoutSeconds),
        agent.peerPatience(),
        maxBandwidth.bytesPerSecond(),
        bulkWindowBytes == null ? OptionalLong.empty() : OptionalLong.of(bulkWindowBytes),
        pushOrder,
        tls.toSettings(),
        Optional.ofNullable(tlsName),
        precopy);
  }

  private void require(boolean holds, String what, long given) {
    if (!holds) {
      throw new ParameterException(spec.commandLine(), what + ", not " + given);
    }
  }
}
