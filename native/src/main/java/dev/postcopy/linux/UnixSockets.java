package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.EAGAIN;
import static dev.postcopy.linux.abi.Errno.EINTR;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.postcopy.linux.abi.Poll;
import dev.postcopy.linux.abi.Socket;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** unix(7) sockets, for passing descriptors. */
public final class UnixSockets {
  private UnixSockets() {}

  /**
   * A connected pair of non-blocking stream sockets, closed on exec. QEMU sets the mode that it
   * wants on a socket that it is given (QEMU: migration/migration.c).
   */
  public static SocketPair socketPair() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment pair = arena.allocate(JAVA_INT, 2);
      int type = Socket.SOCK_STREAM | Socket.SOCK_NONBLOCK | Socket.SOCK_CLOEXEC;
      LinuxException.orThrow("socketpair", Socket.socketpair(Socket.AF_UNIX, type, 0, pair));
      return new SocketPair(
          OwnedFd.adopt(pair.getAtIndex(JAVA_INT, 0)), OwnedFd.adopt(pair.getAtIndex(JAVA_INT, 1)));
    }
  }

  /**
   * Sends bytes, and with the first of them a duplicate of a descriptor (SCM_RIGHTS). Waits while
   * the socket is full, also when it is non-blocking.
   *
   * @param payload at least one byte: a stream cannot carry a descriptor without data
   * @throws LinuxException EPIPE or ECONNRESET when the peer is gone
   */
  public static void sendWithDescriptor(int socketFd, byte[] payload, int descriptor) {
    if (payload.length == 0) {
      throw new IllegalArgumentException("a descriptor needs at least one byte to go with");
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment bytes = arena.allocateFrom(ValueLayout.JAVA_BYTE, payload);
      MemorySegment vector = arena.allocate(Socket.IOVEC);
      MemorySegment message = arena.allocate(Socket.MSGHDR);
      Socket.MSG_IOV.set(message, 0L, vector);
      Socket.MSG_IOVLEN.set(message, 0L, 1L);
      Socket.MSG_CONTROL.set(message, 0L, control(arena, descriptor));
      Socket.MSG_CONTROLLEN.set(message, 0L, Socket.CMSG_SPACE_OF_INT);
      long sent = 0;
      while (sent < payload.length) {
        Socket.IOV_BASE.set(vector, 0L, bytes.asSlice(sent));
        Socket.IOV_LEN.set(vector, 0L, payload.length - sent);
        sent += sendOrWait(socketFd, message);
        if (sent > 0) {
          // The descriptor has gone with the first byte; sent again it would arrive twice.
          Socket.MSG_CONTROL.set(message, 0L, MemorySegment.NULL);
          Socket.MSG_CONTROLLEN.set(message, 0L, 0L);
        }
      }
    }
  }

  private static MemorySegment control(Arena arena, int descriptor) {
    MemorySegment control = arena.allocate(Socket.CMSG_SPACE_OF_INT, Long.BYTES);
    Socket.CMSG_LEN.set(control, 0L, Socket.CMSG_LEN_OF_INT);
    Socket.CMSG_LEVEL.set(control, 0L, Socket.SOL_SOCKET);
    Socket.CMSG_TYPE.set(control, 0L, Socket.SCM_RIGHTS);
    control.set(JAVA_INT, Socket.CMSGHDR.byteSize(), descriptor);
    return control;
  }

  private static long sendOrWait(int socketFd, MemorySegment message) {
    long result = Socket.sendmsg(socketFd, message, Socket.MSG_NOSIGNAL);
    if (result == -EAGAIN) {
      int ready = Poll.poll(socketFd, Poll.POLLOUT, -1);
      if (ready != -EINTR) {
        LinuxException.orThrow("poll(socket)", ready);
      }
      return 0;
    }
    return result == -EINTR ? 0 : LinuxException.orThrow("sendmsg", result);
  }
}
