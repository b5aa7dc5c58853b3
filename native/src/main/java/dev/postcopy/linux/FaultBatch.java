package dev.postcopy.linux;

import dev.postcopy.linux.abi.Uffd;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * Room for the messages of one read of a {@link Userfaultfd}, allocated once. Owned by one thread.
 */
public final class FaultBatch {
  private final MemorySegment messages;
  private final int capacity;
  private int size;

  /**
   * Allocates the room.
   *
   * @param capacity messages per read, at least 1
   */
  public FaultBatch(int capacity) {
    if (capacity < 1) {
      throw new IllegalArgumentException("capacity " + capacity);
    }
    this.capacity = capacity;
    this.messages = Arena.ofAuto().allocate(Uffd.MSG, capacity);
  }

  public int capacity() {
    return capacity;
  }

  /** Messages of the last read. */
  public int size() {
    return size;
  }

  /** {@link Uffd#UFFD_EVENT_PAGEFAULT} for a fault; the other accessors are only about faults. */
  public int event(int i) {
    return (byte) Uffd.MSG_EVENT.get(messages, offset(i));
  }

  /** The address of the page that is missing, in the process that faulted. */
  public long address(int i) {
    return (long) Uffd.MSG_ADDRESS.get(messages, offset(i));
  }

  /** UFFD_PAGEFAULT_FLAG bits: {@link Uffd#UFFD_PAGEFAULT_FLAG_WRITE} when it was a write. */
  public long flags(int i) {
    return (long) Uffd.MSG_FLAGS.get(messages, offset(i));
  }

  /** The thread that waits, as numbered in this process's pid namespace. */
  public int threadId(int i) {
    return (int) Uffd.MSG_PTID.get(messages, offset(i));
  }

  private long offset(int i) {
    return Objects.checkIndex(i, size) * Uffd.MSG.byteSize();
  }

  MemorySegment buffer() {
    return messages;
  }

  void filledWith(int messageCount) {
    size = messageCount;
  }
}
