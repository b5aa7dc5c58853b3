package dev.postcopy.it;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Looks at RAM files without changing them: read(2) of a hole gives zeros and allocates nothing,
 * unlike a read through a mapping.
 */
final class RamFiles {

  private static final int CHUNK = 1 << 20;

  private RamFiles() {}

  /** The offset of the first byte that differs, or -1; holes are zeros. */
  static long firstDifference(Path a, Path b) {
    try (FileChannel first = FileChannel.open(a, StandardOpenOption.READ);
        FileChannel second = FileChannel.open(b, StandardOpenOption.READ)) {
      long size = first.size();
      if (size != second.size()) {
        throw new AssertionError(a + " has " + size + " bytes and " + b + " has " + second.size());
      }
      ByteBuffer left = ByteBuffer.allocateDirect(CHUNK);
      ByteBuffer right = ByteBuffer.allocateDirect(CHUNK);
      for (long at = 0; at < size; at += CHUNK) {
        fill(first, left, at, size);
        fill(second, right, at, size);
        int mismatch = left.mismatch(right);
        if (mismatch >= 0) {
          return at + mismatch;
        }
      }
      return -1;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void fill(FileChannel channel, ByteBuffer buffer, long from, long size)
      throws IOException {
    buffer.clear().limit((int) Math.min(buffer.capacity(), size - from));
    while (buffer.hasRemaining()) {
      if (channel.read(buffer, from + buffer.position()) < 0) {
        throw new IOException("the file became shorter while it was read");
      }
    }
    buffer.flip();
  }

  /** How much memory the file takes: what is not a hole. */
  static long allocatedBytes(Path file) {
    return Long.parseLong(
            TestEnvironment.run(Path.of("/"), 10, "stat", "-c", "%b", file.toString()).getFirst())
        * 512;
  }
}
