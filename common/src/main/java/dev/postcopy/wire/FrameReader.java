package dev.postcopy.wire;

import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.ByteToMessageDecoder;
import io.netty.handler.timeout.IdleStateEvent;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Turns bytes into calls of a {@link FrameSink}: checks magic, length and checksum before it looks
 * at a body, and a body's bounds before it hands it on. Anything wrong closes the connection with
 * one line that names the cause.
 *
 * <p>Whether a run of pages lies within the guest is the sink's to check; here only its form is.
 */
public final class FrameReader extends ChannelInboundHandlerAdapter {

  private static final Logger log = LoggerFactory.getLogger(FrameReader.class);

  /** How TLS begins: a handshake record, version 3 (RFC 8446, 5.1). */
  private static final short TLS_HANDSHAKE = 0x1603;

  private final FrameChecksum checksum = new FrameChecksum();
  private FrameSink sink = cause -> {};
  private int deliveredControlTypes;
  private @Nullable ByteBuf unread;
  private long bytesRead;
  private boolean broken;
  private boolean closed;
  private CloseCause closeCause = new CloseCause.Ended();

  /**
   * From now on {@code next} gets the frames; on the connection's event loop only. A sink that
   * comes too late, behind the connection's end, is told of the end.
   */
  public void handOver(FrameSink next) {
    sink = next;
    if (closed) {
      next.onClosed(closeCause);
    }
  }

  /** Bytes that have arrived so far; on the connection's event loop only. */
  public long bytesRead() {
    return bytesRead;
  }

  @Override
  public void channelRead(ChannelHandlerContext ctx, Object message) {
    ByteBuf bytes = (ByteBuf) message;
    bytesRead += bytes.readableBytes();
    ByteBuf in =
        unread == null
            ? bytes
            : ByteToMessageDecoder.MERGE_CUMULATOR.cumulate(ctx.alloc(), unread, bytes);
    unread = in;
    while (!broken && deliverNext(in)) {}
    if (broken || !in.isReadable()) {
      releaseUnread();
    }
  }

  @Override
  public void channelReadComplete(ChannelHandlerContext ctx) {
    // A piece of device state may still refer to the same bytes.
    if (unread != null && unread.refCnt() == 1) {
      unread.discardSomeReadBytes();
    }
    sink.onBatchEnd();
    ctx.fireChannelReadComplete();
  }

  @Override
  public void handlerRemoved(ChannelHandlerContext ctx) {
    releaseUnread();
  }

  @Override
  public void channelWritabilityChanged(ChannelHandlerContext ctx) {
    if (ctx.channel().isWritable()) {
      sink.onWritable();
    }
    ctx.fireChannelWritabilityChanged();
  }

  @Override
  public void channelInactive(ChannelHandlerContext ctx) {
    closed = true;
    sink.onClosed(closeCause);
    ctx.fireChannelInactive();
  }

  /** The one event that is asked for: nothing has arrived for too long. */
  @Override
  public void userEventTriggered(ChannelHandlerContext ctx, Object event) {
    if (event instanceof IdleStateEvent) {
      exceptionCaught(ctx, new IOException("the peer gives no sign of life"));
    }
    ctx.fireUserEventTriggered(event);
  }

  @Override
  public void exceptionCaught(ChannelHandlerContext ctx, Throwable cause) {
    if (broken) {
      return;
    }
    broken = true;
    switch (cause) {
      case ProtocolException e ->
          closeCause = new CloseCause.Violation(String.valueOf(e.getMessage()));
      case IOException e -> closeCause = new CloseCause.Broken(e);
      default -> {
        closeCause = new CloseCause.Failure(cause);
        log.error("on the connection to {}", ctx.channel().remoteAddress(), cause);
      }
    }
    ctx.close();
  }

  /** Delivers the first frame of {@code in}; false where it is not whole yet. */
  private boolean deliverNext(ByteBuf in) {
    int start = in.readerIndex();
    // Before a length is believed, so that a stray peer is named as what it is.
    if (in.readableBytes() >= 2 && in.getShort(start) != Wire.MAGIC) {
      throw new ProtocolException(
          in.getShort(start) == TLS_HANDSHAKE
              ? "the peer speaks TLS, and this agent was not given certificates for it"
              : "the peer does not speak this protocol");
    }
    if (in.readableBytes() < Wire.HEADER_BYTES) {
      return false;
    }
    long bodyBytes = in.getUnsignedInt(start + Wire.LENGTH_OFFSET);
    if (bodyBytes > Wire.MAX_BODY_BYTES) {
      throw new ProtocolException(
          "frame length exceeds " + (Wire.HEADER_BYTES + Wire.MAX_BODY_BYTES));
    }
    int frameBytes = Wire.HEADER_BYTES + (int) bodyBytes;
    if (in.readableBytes() < frameBytes) {
      return false;
    }
    int end = in.writerIndex();
    // The sink sees the buffer as if it ended with the frame; a slice is an object for each frame.
    in.writerIndex(start + frameBytes);
    try {
      deliver(in);
    } finally {
      in.setIndex(start + frameBytes, end);
    }
    return true;
  }

  private void releaseUnread() {
    if (unread != null) {
      unread.release();
      unread = null;
    }
  }

  private void deliver(ByteBuf frame) {
    checkCrc(frame);
    int start = frame.readerIndex();
    int code = frame.getUnsignedByte(start + 2);
    if (frame.getByte(start + 3) != 0) {
      throw new ProtocolException("reserved byte of value " + frame.getUnsignedByte(start + 3));
    }
    FrameType type = FrameType.of(code);
    if (type == null) {
      throw new ProtocolException("frame of unknown type " + code);
    }
    ByteBuf body = frame.skipBytes(Wire.HEADER_BYTES);
    switch (type) {
      case REQUEST -> {
        int first = page(body);
        int count = runLength(body, Wire.MAX_PAGES_PER_FRAME);
        requireEnd(body);
        sink.onRequest(first, count);
      }
      case PAGES -> {
        int first = page(body);
        int count = runLength(body, Wire.MAX_PAGES_PER_FRAME);
        if (body.readableBytes() != count * RamLayout.PAGE_BYTES) {
          throw new ProtocolException(
              "%d bytes for %d pages".formatted(body.readableBytes(), count));
        }
        sink.onPages(first, count, body);
      }
      case ZERO -> {
        int first = page(body);
        int count = runLength(body, Integer.MAX_VALUE);
        requireEnd(body);
        sink.onZero(first, count);
      }
      case RECEIVED -> {
        int first = page(body);
        int count = bitCount(body);
        sink.onReceived(first, count, body);
      }
      case DISCARD -> {
        int first = page(body);
        int count = bitCount(body);
        sink.onDiscard(first, count, body);
      }
      case ACK -> {
        long frames = u63(body);
        requireEnd(body);
        sink.onAck(frames);
      }
      case PING -> {
        long stamp = u63(body);
        requireEnd(body);
        sink.onPing(stamp);
      }
      case PONG -> {
        long stamp = u63(body);
        requireEnd(body);
        sink.onPong(stamp);
      }
      case DEVICE_STATE -> {
        if (body.readableBytes() > Wire.MAX_STATE_BYTES) {
          throw new ProtocolException("device state of " + body.readableBytes() + " bytes");
        }
        ByteBuf piece = body.retainedSlice();
        try {
          sink.onDeviceState(piece);
        } finally {
          piece.release();
        }
      }
      case HELLO,
          WELCOME,
          REFUSE,
          READY,
          DEVICE_STATE_END,
          LOADED,
          COMMIT,
          RUNNING,
          END,
          COMPLETE,
          CONFIRMED,
          RECEIVED_END,
          ABORT -> {
        ControlFrame control = control(type, body);
        requireEnd(body);
        requireFirst(type);
        sink.onControl(control);
      }
    }
  }

  /**
   * The conversation says nothing twice on a connection, and its frames are queued for a thread
   * that may be busy: a peer that repeats itself must not fill the memory.
   */
  private void requireFirst(FrameType type) {
    int bit = 1 << type.code;
    if ((deliveredControlTypes & bit) != 0) {
      throw new ProtocolException("a second " + type + " frame");
    }
    deliveredControlTypes |= bit;
  }

  private void checkCrc(ByteBuf frame) {
    int found = checksum.of(frame, frame.readableBytes());
    int expected = frame.getInt(frame.readerIndex() + Wire.CRC_OFFSET);
    if (found != expected) {
      throw new ProtocolException(
          "checksum %08x where the frame says %08x".formatted(found, expected));
    }
  }

  private static ControlFrame control(FrameType type, ByteBuf body) {
    return switch (type) {
      case HELLO -> hello(body);
      case WELCOME -> welcome(body);
      case REFUSE -> new ControlFrame.Refuse(text(body), text(body));
      case READY -> new ControlFrame.Ready();
      case DEVICE_STATE_END -> new ControlFrame.DeviceStateEnd(u63(body));
      case LOADED -> new ControlFrame.Loaded();
      case COMMIT -> new ControlFrame.Commit(flag(body));
      case RUNNING -> new ControlFrame.Running();
      case END -> new ControlFrame.End(u31(body), u31(body));
      case COMPLETE ->
          new ControlFrame.Complete(
              new ControlFrame.DestinationStats(
                  u31(body), u31(body), u31(body), u31(body), u63(body), u63(body), u63(body),
                  u63(body), u63(body)));
      case CONFIRMED -> new ControlFrame.Confirmed(u63(body), u63(body), u63(body));
      case RECEIVED_END -> new ControlFrame.ReceivedEnd(u31(body), u31(body));
      case ABORT -> new ControlFrame.Abort(text(body));
      case REQUEST, PAGES, ZERO, RECEIVED, DISCARD, ACK, PING, PONG, DEVICE_STATE ->
          throw new AssertionError(type);
    };
  }

  private static ControlFrame.Hello hello(ByteBuf body) {
    int version = u16(body);
    if (version != Wire.VERSION) {
      // What follows may be laid out differently there: only the version can be told.
      body.skipBytes(body.readableBytes());
      return new ControlFrame.Hello(
          version, new UUID(0, 0), ConnectionRole.DEMAND, 0, "", List.of());
    }
    require(body, 17);
    UUID session = new UUID(body.readLong(), body.readLong());
    int roleCode = body.readUnsignedByte();
    ConnectionRole role =
        switch (roleCode) {
          case 0 -> ConnectionRole.DEMAND;
          case 1 -> ConnectionRole.BULK;
          case 2 -> ConnectionRole.INQUIRY;
          default -> throw new ProtocolException("connection role " + roleCode);
        };
    int attempt = u31(body);
    String vm = text(body, Wire.MAX_VM_NAME_BYTES);
    int blockCount = u16(body);
    if (blockCount > Wire.MAX_BLOCKS) {
      throw new ProtocolException(blockCount + " RAM blocks");
    }
    List<RamBlock> blocks = new ArrayList<>(blockCount);
    for (int i = 0; i < blockCount; i++) {
      String id = text(body);
      long byteLength = u63(body);
      try {
        blocks.add(new RamBlock(id, byteLength));
      } catch (IllegalArgumentException e) {
        throw new ProtocolException(e.getMessage());
      }
    }
    return new ControlFrame.Hello(version, session, role, attempt, vm, List.copyOf(blocks));
  }

  private static ControlFrame.Welcome welcome(ByteBuf body) {
    int version = u16(body);
    if (version != Wire.VERSION) {
      body.skipBytes(body.readableBytes());
      return new ControlFrame.Welcome(version, ControlFrame.Standing.NEW, 0);
    }
    require(body, 1);
    int code = body.readUnsignedByte();
    ControlFrame.Standing standing =
        switch (code) {
          case 0 -> ControlFrame.Standing.NEW;
          case 1 -> ControlFrame.Standing.LOADED;
          case 2 -> ControlFrame.Standing.COMMITTED;
          case 3 -> ControlFrame.Standing.COMPLETE;
          default -> throw new ProtocolException("standing " + code);
        };
    return new ControlFrame.Welcome(version, standing, u63(body));
  }

  private static int page(ByteBuf body) {
    return u31(body);
  }

  private static int runLength(ByteBuf body, int limit) {
    int count = u31(body);
    if (count == 0 || count > limit) {
      throw new ProtocolException("a run of " + count + " pages");
    }
    return count;
  }

  /** The number of pages that have a bit each in the rest of the body. */
  private static int bitCount(ByteBuf body) {
    int count = runLength(body, Wire.MAX_BITS);
    if (body.readableBytes() != (count + 7) / 8) {
      throw new ProtocolException(
          "%d bytes for the bits of %d pages".formatted(body.readableBytes(), count));
    }
    return count;
  }

  private static boolean flag(ByteBuf body) {
    require(body, 1);
    int value = body.readUnsignedByte();
    if (value > 1) {
      throw new ProtocolException("flag of value " + value);
    }
    return value == 1;
  }

  private static int u16(ByteBuf body) {
    require(body, 2);
    return body.readUnsignedShort();
  }

  private static int u31(ByteBuf body) {
    require(body, 4);
    int value = body.readInt();
    if (value < 0) {
      throw new ProtocolException("number out of range: " + Integer.toUnsignedString(value));
    }
    return value;
  }

  private static long u63(ByteBuf body) {
    require(body, 8);
    long value = body.readLong();
    if (value < 0) {
      throw new ProtocolException("number out of range: " + Long.toUnsignedString(value));
    }
    return value;
  }

  private static String text(ByteBuf body) {
    return text(body, Wire.MAX_TEXT_BYTES);
  }

  private static String text(ByteBuf body, int maxBytes) {
    int byteLength = u16(body);
    if (byteLength > maxBytes) {
      throw new ProtocolException("text of " + byteLength + " bytes");
    }
    require(body, byteLength);
    byte[] bytes = new byte[byteLength];
    body.readBytes(bytes);
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
      // It ends on an operator's terminal, where a control character is a command.
      if (Wire.CONTROL_CHARACTER.matcher(text).find()) {
        throw new ProtocolException("text with control characters");
      }
      return text;
    } catch (CharacterCodingException e) {
      throw new ProtocolException("text that is not UTF-8");
    }
  }

  private static void require(ByteBuf body, int byteLength) {
    if (body.readableBytes() < byteLength) {
      throw new ProtocolException("frame is too short");
    }
  }

  private static void requireEnd(ByteBuf body) {
    if (body.isReadable()) {
      throw new ProtocolException(body.readableBytes() + " bytes too many in a frame");
    }
  }
}
