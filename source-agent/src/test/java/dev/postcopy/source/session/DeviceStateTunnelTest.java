package dev.postcopy.source.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.EventLoop;
import io.netty.channel.IoEventLoopGroup;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class DeviceStateTunnelTest {

  /** More than all sockets and buffers on the way hold. */
  private static final int STATE_BYTES = 16 << 20;

  private final IoEventLoopGroup loops = EventLoops.named("tunnel", 3);

  @AfterEach
  void shutDown() {
    EventLoops.shutDown(loops);
  }

  @Test
  void aStateThatTheLinkDoesNotTakeAtOnceWaitsAndThenGoesOnInOrder() throws Exception {
    SocketPair link = UnixSockets.socketPair();
    Reading destination = new Reading();
    Connection bulk = Transport.adopt(loops.next(), link.first().release(), made -> new Reading());
    Connection far = Transport.adopt(loops.next(), link.second().release(), made -> destination);
    far.setReading(false);
    BlockingQueue<SourceEvent> events = new LinkedBlockingQueue<>();
    SocketPair stream = UnixSockets.socketPair();
    EpollDomainSocketChannel qemu = new EpollDomainSocketChannel(stream.second().release());
    EventLoop qemuLoop = loops.next();
    qemuLoop.register(qemu).syncUninterruptibly();
    DeviceStateTunnel.open(stream.first(), bulk, events);

    ByteBuf state = Unpooled.buffer(STATE_BYTES);
    while (state.isWritable()) {
      state.writeInt(state.writerIndex());
    }
    var written = qemu.writeAndFlush(state);
    assertThat(written.await(500, TimeUnit.MILLISECONDS))
        .as("the source's QEMU waits while the destination takes nothing")
        .isFalse();
    far.setReading(true);
    written.syncUninterruptibly();
    qemu.close().syncUninterruptibly();

    assertThat(events.take())
        .as("what was sent of the device state")
        .isEqualTo(new SourceEvent.DeviceStateSent(STATE_BYTES));
    assertThat(destination.end.take())
        .as("the end of the device state at the destination")
        .isEqualTo(new ControlFrame.DeviceStateEnd(STATE_BYTES));
    assertThat(destination.inOrder)
        .as("bytes that are where QEMU wrote them")
        .isEqualTo(STATE_BYTES);
    bulk.closeAndWait();
    far.closeAndWait();
  }

  /** Counts the bytes of a state in which each int tells its own place. */
  private static final class Reading implements FrameSink {

    final BlockingQueue<ControlFrame> end = new LinkedBlockingQueue<>();
    private final ByteBuf cutOff = Unpooled.buffer();
    int inOrder;

    @Override
    public void onDeviceState(ByteBuf piece) {
      cutOff.writeBytes(piece);
      while (cutOff.readableBytes() >= Integer.BYTES && cutOff.readInt() == inOrder) {
        inOrder += Integer.BYTES;
      }
      cutOff.discardReadBytes();
    }

    @Override
    public void onControl(ControlFrame frame) {
      end.add(frame);
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
