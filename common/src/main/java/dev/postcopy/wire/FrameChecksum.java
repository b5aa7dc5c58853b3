package dev.postcopy.wire;

import io.netty.buffer.ByteBuf;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.zip.CRC32C;

/**
 * The checksum of a frame in a direct buffer. {@link CRC32C} wants a {@link ByteBuffer}, of which
 * Netty makes a new one for each part that it is asked for; this class keeps one that reaches over
 * all addresses near by, and moves its limits. Owned by one thread.
 */
final class FrameChecksum {

  private static final int VIEW_BYTES = 1 << 30;

  private final CRC32C crc = new CRC32C();
  private ByteBuffer view = ByteBuffer.allocate(0);
  private long viewAddress;

  /**
   * Everything but the checksum itself is covered: a flipped page number is as bad as a page.
   *
   * @param frame of which {@code byteLength} bytes from its reader index on are a whole frame
   */
  int of(ByteBuf frame, int byteLength) {
    long address = frame.memoryAddress() + frame.readerIndex();
    crc.reset();
    crc.update(view(address, Wire.CRC_OFFSET));
    crc.update(view(address + Wire.HEADER_BYTES, byteLength - Wire.HEADER_BYTES));
    return (int) crc.getValue();
  }

  private ByteBuffer view(long address, int byteLength) {
    if (address < viewAddress || address + byteLength > viewAddress + view.capacity()) {
      viewAddress = Math.max(0, address - VIEW_BYTES / 2);
      view = MemorySegment.ofAddress(viewAddress).reinterpret(VIEW_BYTES).asByteBuffer();
    }
    int offset = (int) (address - viewAddress);
    return view.limit(offset + byteLength).position(offset);
  }
}
