package dev.postcopy.source.session;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.transport.Arrivals;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlSink;
import dev.postcopy.wire.Wire;
import io.netty.buffer.Unpooled;
import io.netty.channel.EventLoop;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import java.time.Duration;

/**
 * What a switch-over says and carries, over and over: when it happens in earnest the guest stands
 * still, and what a JVM does for the first time takes a hundred times as long. It is the real way
 * up to the connections; their other ends are in this process.
 */
final class Rehearsal {

  private static final Duration PATIENCE = Duration.ofSeconds(5);

  /** As many as QEMU writes at a time; so many that a connection is full now and then. */
  private static final int PIECE_BYTES = Wire.MAX_STATE_BYTES;

  private Rehearsal() {}

  /** LOADED, COMMIT, RUNNING: nothing is said twice on a connection, so each time on a new one. */
  static void commit(int times, SourceConversation conversation, EventLoopGroup loops)
      throws MigrationFailedException {
    for (int i = 0; i < times; i++) {
      SocketPair pair = UnixSockets.socketPair();
      Connection demand =
          Transport.adopt(
              loops.next(),
              pair.first().release(),
              made ->
                  new ControlSink(frame -> conversation.queue().add(new SourceEvent.Said(frame))));
      Connection destination =
          Transport.adopt(
              loops.next(),
              pair.second().release(),
              made -> new ControlSink(commit -> made.send(new ControlFrame.Running())));
      destination.send(new ControlFrame.Loaded());
      conversation.expect(ControlFrame.Loaded.class, PATIENCE);
      demand.send(new ControlFrame.Commit(true));
      conversation.expect(ControlFrame.Running.class, PATIENCE);
      demand.close();
      destination.close();
    }
  }

  /**
   * Pieces of device state, one after the other, and the end.
   *
   * @param qemuLoop serves the stand-in for QEMU
   * @param arrivals of device state at the other end of {@code bulk}
   */
  static void carryDeviceState(
      int times,
      SourceConversation conversation,
      Connection bulk,
      EventLoop qemuLoop,
      Arrivals arrivals)
      throws MigrationFailedException {
    SocketPair pair = UnixSockets.socketPair();
    EpollDomainSocketChannel qemu = new EpollDomainSocketChannel(pair.second().release());
    qemuLoop.register(qemu).syncUninterruptibly();
    DeviceStateTunnel.open(pair.first(), bulk, conversation.queue());
    try {
      for (int i = 0; i < times; i++) {
        qemu.writeAndFlush(Unpooled.wrappedBuffer(new byte[PIECE_BYTES]));
        arrivals.take(PIECE_BYTES, PATIENCE);
      }
    } finally {
      qemu.close().syncUninterruptibly();
    }
    conversation.next(System.nanoTime() + PATIENCE.toNanos(), "the end of the device state");
  }
}
