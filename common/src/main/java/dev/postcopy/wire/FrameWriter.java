package dev.postcopy.wire;

import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import java.nio.charset.StandardCharsets;

/**
 * Builds frames. Owned by one thread, which is the event loop of the connection that it writes for.
 */
public final class FrameWriter {

  private final ByteBufAllocator allocator;
  private final FrameChecksum checksum = new FrameChecksum();

  public FrameWriter(ByteBufAllocator allocator) {
    this.allocator = allocator;
  }

  /** Asks for pages [first, first+count). */
  public ByteBuf request(int first, int count) {
    return seal(run(FrameType.REQUEST, first, count, 0));
  }

  /** Says that pages [first, first+count) are zero. */
  public ByteBuf zero(int first, int count) {
    return seal(run(FrameType.ZERO, first, count, 0));
  }

  /**
   * Begins a frame with the content of pages: the caller writes count × 4096 bytes behind it and
   * then calls {@link #seal}.
   */
  public ByteBuf beginPages(int first, int count) {
    return run(FrameType.PAGES, first, count, count * RamLayout.PAGE_BYTES);
  }

  /** Says that the first {@code frames} page frames of the connection have been dealt with. */
  public ByteBuf ack(long frames) {
    return seal(begin(FrameType.ACK, 8).writeLong(frames));
  }

  /**
   * Asks the peer to send {@code stamp} back at once.
   *
   * @param stamp 0 or more
   */
  public ByteBuf ping(long stamp) {
    return seal(begin(FrameType.PING, 8).writeLong(stamp));
  }

  /** Sends the stamp of a ping back. */
  public ByteBuf pong(long stamp) {
    return seal(begin(FrameType.PONG, 8).writeLong(stamp));
  }

  /**
   * Begins a frame that tells which of pages [first, first+count) are here: the caller writes count
   * bits, rounded up to bytes, lowest bit first, and then calls {@link #seal}.
   */
  public ByteBuf beginReceived(int first, int count) {
    return run(FrameType.RECEIVED, first, count, (count + 7) / 8);
  }

  /** Begins a frame that tells which of pages [first, first+count) to drop; as beginReceived. */
  public ByteBuf beginDiscard(int first, int count) {
    return run(FrameType.DISCARD, first, count, (count + 7) / 8);
  }

  /** Begins a frame of device state of at most {@code byteLength}; goes on like beginPages. */
  public ByteBuf beginDeviceState(int byteLength) {
    return begin(FrameType.DEVICE_STATE, byteLength);
  }

  /** Fills in the length and the checksum of a frame whose body is complete. */
  public ByteBuf seal(ByteBuf frame) {
    int bodyBytes = frame.readableBytes() - Wire.HEADER_BYTES;
    if (bodyBytes > Wire.MAX_BODY_BYTES) {
      throw new IllegalArgumentException("frame body of " + bodyBytes + " bytes");
    }
    frame.setInt(frame.readerIndex() + Wire.LENGTH_OFFSET, bodyBytes);
    return frame.setInt(
        frame.readerIndex() + Wire.CRC_OFFSET, checksum.of(frame, frame.readableBytes()));
  }

  /** A frame of the conversation. */
  public ByteBuf control(ControlFrame frame) {
    return seal(
        switch (frame) {
          case ControlFrame.Hello hello -> hello(hello);
          case ControlFrame.Welcome(
                  int version,
                  ControlFrame.Standing standing,
                  long epochMillis) ->
              begin(FrameType.WELCOME, 11)
                  .writeShort(version)
                  .writeByte(
                      switch (standing) {
                        case NEW -> 0;
                        case LOADED -> 1;
                        case COMMITTED -> 2;
                        case COMPLETE -> 3;
                      })
                  .writeLong(epochMillis);
          case ControlFrame.Refuse(String reason, String remedy) ->
              text(text(begin(FrameType.REFUSE, 128), reason), remedy);
          case ControlFrame.Ready() -> begin(FrameType.READY, 0);
          case ControlFrame.DeviceStateEnd(long byteLength) ->
              begin(FrameType.DEVICE_STATE_END, 8).writeLong(byteLength);
          case ControlFrame.Loaded() -> begin(FrameType.LOADED, 0);
          case ControlFrame.Commit(boolean run) -> begin(FrameType.COMMIT, 1).writeBoolean(run);
          case ControlFrame.Running() -> begin(FrameType.RUNNING, 0);
          case ControlFrame.End(int dataPages, int zeroPages) ->
              begin(FrameType.END, 8).writeInt(dataPages).writeInt(zeroPages);
          case ControlFrame.Complete(DestinationStats stats) -> complete(stats);
          case ControlFrame.Confirmed(long downtimeMicros, long totalMicros, long bytesSent) ->
              begin(FrameType.CONFIRMED, 24)
                  .writeLong(downtimeMicros)
                  .writeLong(totalMicros)
                  .writeLong(bytesSent);
          case ControlFrame.ReceivedEnd(int dataPages, int zeroPages) ->
              begin(FrameType.RECEIVED_END, 8).writeInt(dataPages).writeInt(zeroPages);
          case ControlFrame.Abort(String reason) -> text(begin(FrameType.ABORT, 128), reason);
        });
  }

  private ByteBuf hello(ControlFrame.Hello hello) {
    ByteBuf frame = begin(FrameType.HELLO, 256);
    frame.writeShort(hello.version());
    frame.writeLong(hello.session().getMostSignificantBits());
    frame.writeLong(hello.session().getLeastSignificantBits());
    frame.writeByte(
        switch (hello.role()) {
          case DEMAND -> 0;
          case BULK -> 1;
          case INQUIRY -> 2;
        });
    frame.writeInt(hello.attempt());
    text(frame, hello.vm());
    frame.writeShort(hello.blocks().size());
    for (RamBlock block : hello.blocks()) {
      text(frame, block.id()).writeLong(block.byteLength());
    }
    return frame;
  }

  private ByteBuf complete(DestinationStats stats) {
    return begin(FrameType.COMPLETE, 56)
        .writeInt(stats.dataPages())
        .writeInt(stats.zeroPages())
        .writeInt(stats.demandPages())
        .writeInt(stats.duplicatePages())
        .writeLong(stats.faults())
        .writeLong(stats.p50Micros())
        .writeLong(stats.p90Micros())
        .writeLong(stats.p99Micros())
        .writeLong(stats.maxMicros());
  }

  private ByteBuf run(FrameType type, int first, int count, int moreBytes) {
    return begin(type, Wire.RUN_BYTES + moreBytes).writeInt(first).writeInt(count);
  }

  private ByteBuf begin(FrameType type, int bodyBytes) {
    return allocator
        .directBuffer(Wire.HEADER_BYTES + bodyBytes)
        .writeShort(Wire.MAGIC)
        .writeByte(type.code)
        .writeByte(0)
        .writeLong(0);
  }

  private static ByteBuf text(ByteBuf frame, String text) {
    byte[] bytes =
        Wire.CONTROL_CHARACTER.matcher(text).replaceAll(" ").getBytes(StandardCharsets.UTF_8);
    if (bytes.length > Wire.MAX_TEXT_BYTES) {
      return text(frame, text.substring(0, Wire.MAX_TEXT_BYTES / 4));
    }
    return frame.writeShort(bytes.length).writeBytes(bytes);
  }
}
