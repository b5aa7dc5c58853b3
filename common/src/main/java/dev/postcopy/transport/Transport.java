package dev.postcopy.transport;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.transport.tls.HandshakeEnd;
import dev.postcopy.transport.tls.PlainPeer;
import dev.postcopy.transport.tls.TlsEndpoint;
import dev.postcopy.transport.tls.TlsFailure;
import dev.postcopy.wire.FrameReader;
import dev.postcopy.wire.FrameSink;
import io.netty.bootstrap.Bootstrap;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.AdaptiveRecvByteBufAllocator;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoop;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.epoll.EpollSocketChannel;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Opens the connections between the agents over TCP, with TLS or without. */
public final class Transport {

  /** Read in pieces large enough that most page frames arrive whole and need no second copy. */
  private static final int MAX_READ_BYTES = 256 * 1024;

  /** What a connection of which nothing is known may hold, times this, has to fit an agent. */
  static final int MAX_STRANGERS = 16;

  private static final Logger log = LoggerFactory.getLogger(Transport.class);

  private Transport() {}

  /**
   * Listens for sources. Of those who connect, {@link #MAX_STRANGERS} at a time are heard until
   * they are {@linkplain Connection#markKnown known}.
   *
   * @param tls empty: whoever connects is heard
   * @param accepted called on a connection's event loop, behind the TLS handshake; returns where
   *     its frames go
   * @return the listening channel, closed by the caller
   * @throws Refusal where the port is taken or the address is not this host's
   */
  public static Channel listen(
      EventLoopGroup acceptLoop,
      EventLoopGroup connectionLoops,
      HostAndPort address,
      Optional<TlsEndpoint> tls,
      Function<Connection, FrameSink> accepted) {
    ChannelFuture bound =
        new ServerBootstrap()
            .group(acceptLoop, connectionLoops)
            .channel(EpollServerSocketChannel.class)
            .option(ChannelOption.SO_REUSEADDR, true)
            .childOption(ChannelOption.TCP_NODELAY, true)
            .childOption(ChannelOption.RECVBUF_ALLOCATOR, receiveBuffers())
            .childHandler(new Accepting(tls, accepted))
            .bind(address.resolve())
            .awaitUninterruptibly();
    if (!bound.isSuccess()) {
      throw Refusal.passing(
          "cannot listen on %s: %s".formatted(address, message(bound.cause())),
          "choose a free port of this host");
    }
    return bound.channel();
  }

  /** The address that a listening channel got. */
  public static InetSocketAddress localAddress(Channel listening) {
    return (InetSocketAddress) listening.localAddress();
  }

  /**
   * Connects to a destination.
   *
   * @param tls empty: whoever listens there is believed
   * @param opened called on the connection's event loop, behind the TLS handshake; returns where
   *     its frames go
   * @throws TlsFailure where somebody answers and TLS does not come about
   * @throws IOException where nobody answers
   */
  public static Connection connect(
      EventLoopGroup loop,
      InetSocketAddress address,
      int timeoutMillis,
      Optional<TlsEndpoint> tls,
      Function<Connection, FrameSink> opened)
      throws IOException {
    CompletableFuture<Connection> connection = new CompletableFuture<>();
    Function<Connection, FrameSink> complete =
        made -> {
          FrameSink sink = opened.apply(made);
          connection.complete(made);
          return sink;
        };
    ChannelFuture connected =
        new Bootstrap()
            .group(loop)
            .channel(EpollSocketChannel.class)
            .option(ChannelOption.TCP_NODELAY, true)
            .option(ChannelOption.CONNECT_TIMEOUT_MILLIS, timeoutMillis)
            .option(ChannelOption.RECVBUF_ALLOCATOR, receiveBuffers())
            .handler(new Opening(tls, complete, connection::completeExceptionally))
            .connect(address)
            .awaitUninterruptibly();
    if (!connected.isSuccess()) {
      throw new IOException(message(connected.cause()));
    }
    return await(connection, connected.channel());
  }

  private static Connection await(CompletableFuture<Connection> connection, Channel channel)
      throws IOException {
    try {
      // The handshake has a time limit of its own, which tells more.
      return connection.get(2L * TlsEndpoint.HANDSHAKE_MILLIS, TimeUnit.MILLISECONDS);
    } catch (ExecutionException e) {
      throw e.getCause() instanceof TlsFailure failure ? failure : new IOException(e.getCause());
    } catch (TimeoutException e) {
      channel.close();
      throw new IOException("no connection came about", e);
    } catch (InterruptedException e) {
      channel.close();
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }

  /**
   * A connection on one end of a socket pair: no network, for two parties within one process.
   *
   * @param socketFd owned by the connection from here on
   */
  public static Connection adopt(
      EventLoop loop, int socketFd, Function<Connection, FrameSink> opened) {
    EpollDomainSocketChannel channel = new EpollDomainSocketChannel(socketFd);
    channel.config().setRecvByteBufAllocator(receiveBuffers());
    Connection connection = install(channel, opened);
    loop.register(channel).syncUninterruptibly();
    return connection;
  }

  private static AdaptiveRecvByteBufAllocator receiveBuffers() {
    return new AdaptiveRecvByteBufAllocator(4096, 64 * 1024, MAX_READ_BYTES);
  }

  private static String message(Throwable cause) {
    String message = cause == null ? null : cause.getMessage();
    return message == null ? String.valueOf(cause) : message;
  }

  private static Connection install(Channel channel, Function<Connection, FrameSink> made) {
    FrameReader reader = new FrameReader();
    Connection connection = new Connection(channel, reader);
    reader.handOver(made.apply(connection));
    channel.pipeline().addLast(reader);
    return connection;
  }

  /** A channel becomes a connection: with TLS, when the handshake is over. */
  private static final class Opening extends ChannelInitializer<Channel> {

    private final Optional<TlsEndpoint> tls;
    private final Function<Connection, FrameSink> made;
    private final Consumer<TlsFailure> failed;

    Opening(
        Optional<TlsEndpoint> tls,
        Function<Connection, FrameSink> made,
        Consumer<TlsFailure> failed) {
      this.tls = tls;
      this.made = made;
      this.failed = failed;
    }

    @Override
    protected void initChannel(Channel channel) {
      if (tls.isEmpty()) {
        install(channel, made);
        return;
      }
      channel
          .pipeline()
          .addLast(
              tls.get().newHandler(channel.alloc()),
              new HandshakeEnd(channel, () -> install(channel, made), failed));
    }
  }

  private static final class Accepting extends ChannelInitializer<Channel> {

    private static final long TELLING_PAUSE_NANOS = 1_000_000_000;

    private final Opening opening;
    private final boolean withTls;
    private final AtomicInteger strangers = new AtomicInteger();
    private final AtomicBoolean told = new AtomicBoolean();
    private final AtomicLong toldNanos = new AtomicLong(System.nanoTime() - TELLING_PAUSE_NANOS);

    Accepting(Optional<TlsEndpoint> tls, Function<Connection, FrameSink> made) {
      opening = new Opening(tls, made, this::tell);
      withTls = tls.isPresent();
    }

    @Override
    protected void initChannel(Channel channel) {
      channel.attr(Connection.ON_KNOWN).set(strangers::decrementAndGet);
      channel.closeFuture().addListener(closed -> Connection.markKnown(channel));
      if (strangers.incrementAndGet() <= MAX_STRANGERS) {
        if (withTls) {
          channel.pipeline().addLast(new PlainPeer());
        }
        channel.pipeline().addLast(opening);
        return;
      }
      channel.close();
      // Once: a peer that floods connections must not flood the log too.
      if (told.compareAndSet(false, true)) {
        log.warn(
            "more than {} unknown connections at once, {} is sent away",
            MAX_STRANGERS,
            channel.remoteAddress());
      }
    }

    /** At most one a second, for the same reason. */
    private void tell(TlsFailure failure) {
      long last = toldNanos.get();
      long now = System.nanoTime();
      if (now - last >= TELLING_PAUSE_NANOS && toldNanos.compareAndSet(last, now)) {
        log.warn("{}", failure.getMessage());
      }
    }
  }
}
