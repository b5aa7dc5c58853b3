package dev.postcopy.dest.session;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.transport.Arrivals;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlSink;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.EventLoop;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import java.time.Duration;

/**
 * What a switch-over says and carries, over and over: when it happens in earnest the guest stands
 * still, and what a JVM does for the first time takes a hundred times as long. It is the real way
 * behind the connections; their other ends are in this process.
 */
final class Rehearsal {

  private static final Duration PATIENCE = Duration.ofSeconds(5);

  /** As many as QEMU writes at a time; so many that a connection is full now and then. */
  private static final int PIECE_BYTES = Wire.MAX_STATE_BYTES;

  private Rehearsal() {}

  /** LOADED, COMMIT, RUNNING: nothing is said twice on a connection, so each time on a new one. */
  static void commit(int times, DestinationConversation conversation, EventLoopGroup loops)
      throws MigrationFailedException {
    for (int i = 0; i < times; i++) {
      SocketPair pair = UnixSockets.socketPair();
      Connection demand =
          Transport.adopt(
              loops.next(),
              pair.first().release(),
              made ->
                  new ControlSink(
                      frame -> conversation.queue().add(new DestinationEvent.Said(frame))));
      Connection source =
          Transport.adopt(
              loops.next(),
              pair.second().release(),
              made -> new ControlSink(frame -> answer(frame, made)));
      demand.send(new ControlFrame.Loaded());
      DestinationEvent event = next(conversation);
      while (!(event instanceof DestinationEvent.Said(ControlFrame.Commit _))) {
        conversation.unexpected(event);
        event = next(conversation);
      }
      demand.send(new ControlFrame.Running());
      demand.close();
      source.close();
    }
  }

  private static void answer(ControlFrame frame, Connection source) {
    if (frame instanceof ControlFrame.Loaded) {
      source.send(new ControlFrame.Commit(true));
    }
  }

  private static DestinationEvent next(DestinationConversation conversation)
      throws MigrationFailedException {
    DestinationEvent event = conversation.poll(PATIENCE.toMillis());
    if (event == null) {
      throw new MigrationFailedException("nothing arrives");
    }
    return event;
  }

  /**
   * Pieces of device state, one after the other, and the end.
   *
   * @param source the other end of the connection that {@code feeder} is fed from
   * @param qemuLoop serves the stand-in for QEMU
   */
  static void feedDeviceState(
      int times, DeviceStateFeeder feeder, Connection source, EventLoop qemuLoop)
      throws MigrationFailedException {
    SocketPair pair = UnixSockets.socketPair();
    Arrivals arrivals = new Arrivals();
    EpollDomainSocketChannel qemu = new EpollDomainSocketChannel(pair.second().release());
    qemu.pipeline().addLast(new Taking(arrivals));
    qemuLoop.register(qemu).syncUninterruptibly();
    feeder.open(pair.first());
    try {
      for (int i = 0; i < times; i++) {
        source.execute(() -> send(source));
        arrivals.take(PIECE_BYTES, PATIENCE);
      }
      source.send(new ControlFrame.DeviceStateEnd((long) times * PIECE_BYTES));
      if (!qemu.closeFuture().awaitUninterruptibly(PATIENCE.toMillis())) {
        throw new MigrationFailedException("the device state does not end");
      }
    } finally {
      qemu.close().syncUninterruptibly();
    }
  }

  private static void send(Connection source) {
    ByteBuf frame = source.writer().beginDeviceState(PIECE_BYTES).writeZero(PIECE_BYTES);
    source.write(source.writer().seal(frame));
    source.flush();
  }

  /** Stands in for QEMU, which reads its device state. */
  private static final class Taking extends SimpleChannelInboundHandler<ByteBuf> {

    private final Arrivals arrivals;

    Taking(Arrivals arrivals) {
      this.arrivals = arrivals;
    }

    @Override
    protected void channelRead0(ChannelHandlerContext context, ByteBuf piece) {
      arrivals.add(piece.readableBytes());
    }
  }
}
