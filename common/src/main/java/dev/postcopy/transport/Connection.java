package dev.postcopy.transport;

import dev.postcopy.transport.tls.PeerNames;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameReader;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.FrameWriter;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.EventLoop;
import io.netty.channel.IoEventLoop;
import io.netty.channel.socket.DuplexChannel;
import io.netty.channel.unix.IntegerUnixChannelOption;
import io.netty.handler.ssl.SslHandler;
import io.netty.handler.timeout.IdleStateHandler;
import io.netty.util.AttributeKey;
import io.netty.util.concurrent.ScheduledFuture;
import java.io.IOException;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * One connection between the agents. Frames that are built by its {@link #writer} are written on
 * its event loop; {@link #send} may be called from anywhere.
 */
public final class Connection {

  /** What is to be done when a connection that was accepted is known, or gone; done once. */
  static final AttributeKey<Runnable> ON_KNOWN = AttributeKey.valueOf(Connection.class, "ON_KNOWN");

  /** SOL_SOCKET and SO_RCVLOWAT of socket(7). */
  private static final IntegerUnixChannelOption LEAST_READABLE =
      new IntegerUnixChannelOption("SO_RCVLOWAT", 1, 18);

  private final Channel channel;
  private final FrameReader reader;
  private final FrameWriter writer;
  private final AtomicLong bytesWritten = new AtomicLong();

  Connection(Channel channel, FrameReader reader) {
    this.channel = channel;
    this.reader = reader;
    this.writer = new FrameWriter(channel.alloc());
  }

  /** Sends a frame of the conversation, in order with the others that this thread sends. */
  public void send(ControlFrame frame) {
    EventLoop loop = channel.eventLoop();
    if (loop.inEventLoop()) {
      write(writer.control(frame));
      channel.flush();
    } else {
      loop.execute(() -> send(frame));
    }
  }

  /** Sends a last frame and closes the connection behind it. */
  public void sendAndClose(ControlFrame frame) {
    send(frame);
    channel.eventLoop().execute(channel::close);
  }

  /**
   * Sends a last frame and waits for the peer to close the connection, a second at the most. Closed
   * from here, with something of the peer's unread, the connection would be reset, and the frame
   * lost with it (RFC 9293, 3.6.1). Not for the event loop.
   *
   * @return whether the peer closed it, and so most likely heard
   */
  public boolean sendLast(ControlFrame frame) {
    boolean wasOpen = channel.isActive();
    channel.eventLoop().submit(() -> endOutput(frame)).awaitUninterruptibly();
    boolean closedByPeer = channel.closeFuture().awaitUninterruptibly(1, TimeUnit.SECONDS);
    closeAndWait();
    return wasOpen && closedByPeer;
  }

  /** The output ends behind the frame, not before: what the socket did not take yet comes first. */
  private void endOutput(ControlFrame last) {
    ByteBuf frame = writer.control(last);
    bytesWritten.addAndGet(frame.readableBytes());
    endOutput(channel.writeAndFlush(frame));
  }

  private void endOutput(ChannelFuture lastSent) {
    ChannelFuture sent = lastSent;
    SslHandler tls = tls();
    if (tls != null) {
      // TLS has an end of its own, by which the peer knows that nothing was cut off.
      sent = tls.closeOutbound();
    }
    if (channel instanceof DuplexChannel duplex) {
      sent.addListener(done -> duplex.shutdownOutput());
    }
  }

  /** Queues a sealed frame; on the event loop only. */
  public void write(ByteBuf frame) {
    bytesWritten.addAndGet(frame.readableBytes());
    channel.write(frame, channel.voidPromise());
  }

  /** Hands what is queued to the socket; on the event loop only. */
  public void flush() {
    channel.flush();
  }

  /** The builder of this connection's frames; on the event loop only. */
  public FrameWriter writer() {
    return writer;
  }

  /** Whether the socket takes more at once; on the event loop only. */
  public boolean isWritable() {
    return channel.isWritable();
  }

  /**
   * Runs {@code task} on the event loop each time when the socket takes more again, for as long as
   * the connection lives.
   */
  public void whenWritable(Runnable task) {
    channel
        .pipeline()
        .addLast(
            new ChannelInboundHandlerAdapter() {
              @Override
              public void channelWritabilityChanged(ChannelHandlerContext ctx) {
                if (ctx.channel().isWritable()) {
                  task.run();
                }
                ctx.fireChannelWritabilityChanged();
              }
            });
  }

  /** Bytes of all frames written so far. */
  public long bytesWritten() {
    return bytesWritten.get();
  }

  /** Bytes of frames that have arrived so far; on the event loop only. */
  public long bytesRead() {
    return reader.bytesRead();
  }

  /**
   * From now on {@code sink} gets what arrives. Returns when that is so, hence not for the event
   * loop: what the peer sends because of a later frame of ours finds the new sink. A sink that
   * comes too late, behind the connection's end, is told of the end.
   */
  public void handOver(FrameSink sink) {
    channel.eventLoop().submit(() -> reader.handOver(sink)).syncUninterruptibly();
  }

  /** Stops and resumes reading, so that a slow consumer slows its producer down. */
  public void setReading(boolean reading) {
    channel.config().setAutoRead(reading);
  }

  /**
   * What arrives next is handed on once there are so many bytes of it, or the peer has closed the
   * connection; on the event loop only. Lowered, it takes effect at once (tcp_set_rcvlowat in
   * net/ipv4/tcp.c). Only TCP keeps to it. Nothing arrives on a connection that was closed here,
   * but its end is told only later.
   *
   * @param bytes an object, so that none is made for each call
   */
  public void awaitBytes(Integer bytes) {
    if (channel.isOpen()) {
      channel.config().setOption(LEAST_READABLE, bytes);
    }
  }

  /**
   * Runs {@code task} on the event loop. What it throws ends the connection, as it would from a
   * frame's handling: nothing fails unseen.
   */
  public void execute(Runnable task) {
    channel.eventLoop().execute(() -> runGuarded(task));
  }

  /** {@link #execute}, after a while. */
  public ScheduledFuture<?> schedule(Runnable task, long delay, TimeUnit unit) {
    return channel.eventLoop().schedule(() -> runGuarded(task), delay, unit);
  }

  /** {@link #execute}, over and over, with so long a pause before each time, until cancelled. */
  public ScheduledFuture<?> repeat(Runnable task, long pause, TimeUnit unit) {
    return channel.eventLoop().scheduleWithFixedDelay(() -> runGuarded(task), pause, pause, unit);
  }

  @SuppressWarnings("CatchingUnchecked") // a SIGBUS in mapped memory is an InternalError
  private void runGuarded(Runnable task) {
    try {
      task.run();
    } catch (Throwable t) {
      channel.pipeline().fireExceptionCaught(t);
    }
  }

  /**
   * From now on the connection is given up when nothing arrives for so long. A host that is gone
   * leaves a connection that looks open.
   */
  public void expectSignsOfLife(Duration patience) {
    channel
        .pipeline()
        .addFirst(new IdleStateHandler(patience.toMillis(), 0, 0, TimeUnit.MILLISECONDS));
  }

  /** Closes the connection as broken; its sink is told {@code cause}. On the event loop only. */
  public void giveUp(String cause) {
    channel.pipeline().fireExceptionCaught(new IOException(cause));
  }

  /** The peer has shown that it belongs here: it is no stranger any more, of whom few are heard. */
  public void markKnown() {
    markKnown(channel);
  }

  static void markKnown(Channel channel) {
    Runnable onKnown = channel.attr(ON_KNOWN).getAndSet(null);
    if (onKnown != null) {
      onKnown.run();
    }
  }

  /**
   * From the moment when this returns {@code loop} owns the connection. What arrives meanwhile
   * waits in the socket. For neither of the two loops, and before frames are written that the
   * socket may not take at once.
   */
  public void moveTo(EventLoop loop) {
    if (!channel.eventLoop().equals(loop)) {
      channel.deregister().awaitUninterruptibly();
      // Closed meanwhile it cannot be registered; whoever it is handed over to is told so.
      loop.register(channel).awaitUninterruptibly();
    }
  }

  /** The loop that owns this connection. */
  public IoEventLoop eventLoop() {
    return (IoEventLoop) channel.eventLoop();
  }

  /** The peer's address, for messages. */
  public String peer() {
    return String.valueOf(channel.remoteAddress());
  }

  /**
   * Ends our side without a word; a peer that has nothing to say either closes the connection. With
   * TLS the socket stays open for the peer's verdict on our certificate, which may come only now.
   */
  void endOutput() {
    channel
        .eventLoop()
        .execute(
            () -> {
              SslHandler tls = tls();
              if (tls != null) {
                tls.closeOutbound();
              } else {
                endOutput(channel.newSucceededFuture());
              }
            });
  }

  private @Nullable SslHandler tls() {
    return channel.pipeline().get(SslHandler.class);
  }

  /** Whether what is sent goes in TLS records. */
  public boolean isEncrypted() {
    return tls() != null;
  }

  /** What the peer has shown; empty without TLS. */
  Optional<X509Certificate> peerCertificate() {
    return Optional.ofNullable(tls())
        .flatMap(tls -> PeerNames.certificate(tls.engine().getSession()));
  }

  /** The names that the peer has proved to have by its certificate; none without TLS. */
  public Set<String> peerNames() {
    SslHandler tls = tls();
    return tls == null ? Set.of() : PeerNames.of(tls.engine().getSession());
  }

  public void close() {
    channel.close();
  }

  /** Closes the connection and returns when it is closed; not for the event loop. */
  public void closeAndWait() {
    channel.close().awaitUninterruptibly();
  }
}
