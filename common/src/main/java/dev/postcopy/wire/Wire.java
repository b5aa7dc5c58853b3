package dev.postcopy.wire;

import dev.postcopy.memory.RamLayout;
import java.util.regex.Pattern;

/** The numbers of the wire protocol; docs/protocol.md draws the frames. */
public final class Wire {

  /** Raised whenever a frame changes its bytes or its meaning. */
  public static final int VERSION = 4;

  /** The first two bytes of every frame: "PC". */
  public static final short MAGIC = 0x5043;

  /** magic u16, type u8, flags u8, body length u32, CRC32C u32. */
  public static final int HEADER_BYTES = 12;

  static final int LENGTH_OFFSET = 4;
  static final int CRC_OFFSET = 8;

  /** first page u32, page count u32; the pages follow. */
  public static final int RUN_BYTES = 8;

  /** The longest run of pages in one frame. */
  public static final int MAX_PAGES_PER_FRAME = 64;

  /** Pages pushed in one frame: long enough to be cheap, short enough not to hold up a fault. */
  public static final int PUSHED_PAGES_PER_FRAME = 4;

  /** Bytes of such a frame. */
  public static final int PUSHED_FRAME_BYTES =
      HEADER_BYTES + RUN_BYTES + PUSHED_PAGES_PER_FRAME * RamLayout.PAGE_BYTES;

  /** The longest piece of device state in one frame, in bytes. */
  public static final int MAX_STATE_BYTES = 64 * 1024;

  /** Nothing longer than this is ever taken in for one frame, in bytes, header aside. */
  static final int MAX_BODY_BYTES = RUN_BYTES + MAX_PAGES_PER_FRAME * RamLayout.PAGE_BYTES;

  /** The most pages that one frame tells about with a bit each. */
  public static final int MAX_BITS = 1 << 20;

  /** The most RAM blocks that a peer may announce. */
  static final int MAX_BLOCKS = 256;

  /** The longest text in a frame, in bytes of UTF-8. */
  static final int MAX_TEXT_BYTES = 1024;

  /** The longest name of a virtual machine, in bytes of UTF-8. */
  public static final int MAX_VM_NAME_BYTES = 128;

  /** What no text in a frame may hold. */
  static final Pattern CONTROL_CHARACTER = Pattern.compile("\\p{Cntrl}");

  private Wire() {}
}
