package dev.postcopy.wire;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.zip.CRC32C;

/**
 * Frames put together byte by byte, from docs/protocol.md and without the code under test: the
 * second opinion on what is on the wire.
 */
final class Bytes {

  static final int HEADER = 12;
  static final int MAX_BODY = 8 + 64 * 4096;

  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

  Bytes u8(int value) {
    bytes.write(value);
    return this;
  }

  Bytes u16(int value) {
    return u8(value >>> 8).u8(value);
  }

  Bytes u32(int value) {
    return u16(value >>> 16).u16(value);
  }

  Bytes u64(long value) {
    return u32((int) (value >>> 32)).u32((int) value);
  }

  Bytes raw(byte... more) {
    bytes.writeBytes(more);
    return this;
  }

  /** {@code count} bytes that differ from their neighbours and from page to page. */
  Bytes filler(int count) {
    for (int i = 0; i < count; i++) {
      u8(i * 31 + (i >> 12));
    }
    return this;
  }

  byte[] toArray() {
    return bytes.toByteArray();
  }

  /** A frame of the type {@code code} around these bytes, true in every field. */
  byte[] asFrame(int code) {
    return seal(
        new Bytes().u16(0x5043).u8(code).u8(0).u32(bytes.size()).u32(0).raw(toArray()).toArray());
  }

  /** Makes the checksum true for what {@code frame} says now. */
  static byte[] seal(byte[] frame) {
    CRC32C crc = new CRC32C();
    crc.update(frame, 0, 8);
    crc.update(frame, HEADER, frame.length - HEADER);
    ByteBuffer.wrap(frame).putInt(8, (int) crc.getValue());
    return frame;
  }

  static byte[] concat(byte[]... parts) {
    Bytes all = new Bytes();
    for (byte[] part : parts) {
      all.raw(part);
    }
    return all.toArray();
  }
}
