package dev.postcopy.daemon;

import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.IoEventLoop;
import io.netty.channel.epoll.EpollDomainDatagramChannel;
import io.netty.channel.unix.DomainSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Tells systemd how the daemon is, sd_notify(3): ready, what it does, stopping, and, where the unit
 * has a watchdog, that it lives. The last is said by the daemon's own event loop: where that hangs,
 * nothing is said. Without a service manager nothing happens.
 */
public final class ServiceManager {

  private static final Logger log = LoggerFactory.getLogger(ServiceManager.class);

  /** How often in the watchdog's period the daemon looks whether it lives. */
  private static final int LOOKS = 4;

  private final @Nullable Channel channel;

  /** 0: the unit has no watchdog. */
  private final long watchdogMicros;

  private String lastStatus = "";

  private ServiceManager(@Nullable Channel channel, long watchdogMicros) {
    this.channel = channel;
    this.watchdogMicros = watchdogMicros;
  }

  /**
   * @param environment NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked at
   * @param loop that of the daemon; not the caller's thread
   */
  public static ServiceManager of(Map<String, String> environment, IoEventLoop loop) {
    String socket = environment.getOrDefault("NOTIFY_SOCKET", "");
    if (socket.isEmpty()) {
      return new ServiceManager(null, 0);
    }
    // An @ stands for the zero byte of an abstract address, unix(7).
    String path = socket.startsWith("@") ? "\0" + socket.substring(1) : socket;
    ChannelFuture connected =
        new Bootstrap()
            .group(loop)
            .channel(EpollDomainDatagramChannel.class)
            .handler(new ChannelInboundHandlerAdapter())
            .connect(new DomainSocketAddress(path))
            .awaitUninterruptibly();
    if (!connected.isSuccess()) {
      log.warn("no service manager at {}: {}", socket, connected.cause().getMessage());
      return new ServiceManager(null, 0);
    }
    return new ServiceManager(connected.channel(), watchdogMicros(environment));
  }

  private static long watchdogMicros(Map<String, String> environment) {
    String pid = environment.getOrDefault("WATCHDOG_PID", "");
    long periodMicros;
    try {
      periodMicros = Long.parseLong(environment.getOrDefault("WATCHDOG_USEC", "0"));
    } catch (NumberFormatException e) {
      periodMicros = 0;
    }
    boolean ours = pid.isEmpty() || pid.equals(Long.toString(ProcessHandle.current().pid()));
    return ours ? Math.max(0, periodMicros) : 0;
  }

  /**
   * Says from now on that the daemon lives, where the unit has a watchdog.
   *
   * @param lives asked on the daemon's loop, several times in the watchdog's period
   */
  void keepAlive(BooleanSupplier lives) {
    if (channel != null && watchdogMicros > 0) {
      var _ =
          channel
              .eventLoop()
              .scheduleAtFixedRate(
                  () -> {
                    if (lives.getAsBoolean()) {
                      say("WATCHDOG=1");
                    }
                  },
                  0,
                  Math.max(1, watchdogMicros / LOOKS),
                  TimeUnit.MICROSECONDS);
    }
  }

  /** The daemon listens; what it takes up runs. */
  public void ready() {
    say("READY=1");
  }

  /** One line that {@code systemctl status} shows; the same twice is said once. */
  public void status(String line) {
    if (!line.equals(lastStatus)) {
      lastStatus = line;
      say("STATUS=" + line);
    }
  }

  /** The daemon ends because it was told to. */
  public void stopping() {
    say("STOPPING=1");
  }

  private void say(String state) {
    if (channel != null) {
      channel
          .writeAndFlush(Unpooled.copiedBuffer(state, StandardCharsets.UTF_8))
          .addListener(
              sent -> {
                if (!sent.isSuccess()) {
                  log.debug("the service manager was not told '{}'", state, sent.cause());
                }
              });
    }
  }
}
