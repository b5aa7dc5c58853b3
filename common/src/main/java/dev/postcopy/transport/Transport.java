package dev.postcopy.transport;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
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
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Opens the connections between the agents over TCP. */
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
   * @param accepted called on a connection's event loop; returns where its frames go
   * @return the listening channel, closed by the caller
   * @throws Refusal where the port is taken or the address is not this host's
   */
  public static Channel listen(
      EventLoopGroup acceptLoop,
      EventLoopGroup connectionLoops,
      HostAndPort address,
      Function<Connection, FrameSink> accepted) {
    ChannelFuture bound =
        new ServerBootstrap()
            .group(acceptLoop, connectionLoops)
            .channel(EpollServerSocketChannel.class)
            .option(ChannelOption.SO_REUSEADDR, true)
            .childOption(ChannelOption.TCP_NODELAY, true)
            .childOption(ChannelOption.RECVBUF_ALLOCATOR, receiveBuffers())
            .childHandler(new AcceptedFrames(accepted))
            .bind(address.resolve())
            .awaitUninterruptibly();
    if (!bound.isSuccess()) {
      throw new Refusal(
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
   * @param opened called on the connection's event loop; returns where its frames go
   * @throws IOException where nobody answers
   */
  public static Connection connect(
      EventLoopGroup loop,
      InetSocketAddress address,
      int timeoutMillis,
      Function<Connection, FrameSink> opened)
      throws IOException {
    CompletableFuture<Connection> connection = new CompletableFuture<>();
    ChannelFuture connected =
        new Bootstrap()
            .group(loop)
            .channel(EpollSocketChannel.class)
            .option(ChannelOption.TCP_NODELAY, true)
            .option(ChannelOption.CONNECT_TIMEOUT_MILLIS, timeoutMillis)
            .option(ChannelOption.RECVBUF_ALLOCATOR, receiveBuffers())
            .handler(
                new Frames(
                    made -> {
                      connection.complete(made);
                      return opened.apply(made);
                    }))
            .connect(address)
            .awaitUninterruptibly();
    if (!connected.isSuccess()) {
      throw new IOException(message(connected.cause()));
    }
    return connection.join();
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
    FrameReader reader = new FrameReader();
    Connection connection = new Connection(channel, reader);
    reader.handOver(opened.apply(connection));
    channel.pipeline().addLast(reader);
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

  private static class Frames extends ChannelInitializer<Channel> {

    private final Function<Connection, FrameSink> made;

    Frames(Function<Connection, FrameSink> made) {
      this.made = made;
    }

    @Override
    protected void initChannel(Channel channel) {
      FrameReader reader = new FrameReader();
      Connection connection = new Connection(channel, reader);
      reader.handOver(made.apply(connection));
      channel.pipeline().addLast(reader);
    }
  }

  private static final class AcceptedFrames extends Frames {

    private final AtomicInteger strangers = new AtomicInteger();
    private final AtomicBoolean told = new AtomicBoolean();

    AcceptedFrames(Function<Connection, FrameSink> made) {
      super(made);
    }

    @Override
    protected void initChannel(Channel channel) {
      channel.attr(Connection.ON_KNOWN).set(strangers::decrementAndGet);
      channel.closeFuture().addListener(closed -> Connection.markKnown(channel));
      if (strangers.incrementAndGet() <= MAX_STRANGERS) {
        super.initChannel(channel);
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
  }
}
