package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;

/** poll(2) of one descriptor. */
public final class Poll {
  public static final short POLLIN = 1;
  public static final short POLLOUT = 4;
  public static final short POLLERR = 8;
  public static final short POLLHUP = 16;

  public static final StructLayout POLLFD =
      MemoryLayout.structLayout(
              JAVA_INT.withName("fd"),
              JAVA_SHORT.withName("events"),
              JAVA_SHORT.withName("revents"))
          .withName("struct pollfd");

  private static final VarHandle FD = POLLFD.varHandle(PathElement.groupElement("fd"));
  private static final VarHandle EVENTS = POLLFD.varHandle(PathElement.groupElement("events"));
  private static final VarHandle REVENTS = POLLFD.varHandle(PathElement.groupElement("revents"));

  private static final MethodHandle POLL =
      Downcalls.capturingErrno(
          "poll", FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_LONG, JAVA_INT));

  private Poll() {}

  /**
   * Waits for {@code events} on {@code fd}.
   *
   * @param timeoutMs milliseconds; 0 does not wait, negative waits for ever
   * @return the events that are there, 0 after the timeout, or {@code -errno}
   */
  public static int poll(int fd, short events, int timeoutMs) {
    MemorySegment state = Downcalls.state();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment pollfd = arena.allocate(POLLFD);
      FD.set(pollfd, 0L, fd);
      EVENTS.set(pollfd, 0L, events);
      int result = Downcalls.result((int) POLL.invokeExact(state, pollfd, 1L, timeoutMs), state);
      return result <= 0 ? result : (short) REVENTS.get(pollfd, 0L);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }
}
