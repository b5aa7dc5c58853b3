package dev.postcopy.linux;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.Socket;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** The receiving end of SCM_RIGHTS, as QEMU has it. */
final class DescriptorReceiver {
  private static final int F_SETFL = 4;
  private static final MethodHandle RECVMSG =
      Linker.nativeLinker()
          .downcallHandle(
              Linker.nativeLinker().defaultLookup().find("recvmsg").orElseThrow(),
              FunctionDescriptor.of(JAVA_LONG, JAVA_INT, ADDRESS, JAVA_INT));

  private DescriptorReceiver() {}

  /** What one recvmsg(2) got. */
  record Message(String text, List<Integer> descriptors) {}

  static Message receive(int socketFd, int maxBytes) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment bytes = arena.allocate(maxBytes);
      MemorySegment control = arena.allocate(Socket.CMSG_SPACE_OF_INT, Long.BYTES);
      MemorySegment vector = arena.allocate(Socket.IOVEC);
      Socket.IOV_BASE.set(vector, 0L, bytes);
      Socket.IOV_LEN.set(vector, 0L, bytes.byteSize());
      MemorySegment message = arena.allocate(Socket.MSGHDR);
      Socket.MSG_IOV.set(message, 0L, vector);
      Socket.MSG_IOVLEN.set(message, 0L, 1L);
      Socket.MSG_CONTROL.set(message, 0L, control);
      Socket.MSG_CONTROLLEN.set(message, 0L, control.byteSize());
      long length = (long) RECVMSG.invokeExact(socketFd, message, 0);
      boolean withDescriptor = (long) Socket.MSG_CONTROLLEN.get(message, 0L) > 0;
      return new Message(
          new String(bytes.asSlice(0, length).toArray(JAVA_BYTE), StandardCharsets.UTF_8),
          withDescriptor ? List.of(control.get(JAVA_INT, Socket.CMSGHDR.byteSize())) : List.of());
    } catch (Throwable t) {
      throw new AssertionError("recvmsg", t);
    }
  }

  static void makeNonBlocking(int fd) {
    LinuxException.orThrow("fcntl", FileCalls.fcntl(fd, F_SETFL, FileCalls.O_NONBLOCK));
  }
}
