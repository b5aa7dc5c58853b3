package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;

/** socketpair(2), sendmsg(2), and the structures that carry a descriptor, cmsg(3) and unix(7). */
public final class Socket {
  public static final int AF_UNIX = 1;
  public static final int SOCK_STREAM = 1;
  public static final int SOCK_NONBLOCK = 0x800;
  public static final int SOCK_CLOEXEC = 0x80000;
  public static final int SOL_SOCKET = 1;
  public static final int SCM_RIGHTS = 1;

  /** EPIPE instead of a SIGPIPE. */
  public static final int MSG_NOSIGNAL = 0x4000;

  public static final StructLayout IOVEC =
      MemoryLayout.structLayout(ADDRESS.withName("iov_base"), JAVA_LONG.withName("iov_len"))
          .withName("struct iovec");

  public static final StructLayout MSGHDR =
      MemoryLayout.structLayout(
              ADDRESS.withName("msg_name"),
              JAVA_INT.withName("msg_namelen"),
              MemoryLayout.paddingLayout(4),
              ADDRESS.withName("msg_iov"),
              JAVA_LONG.withName("msg_iovlen"),
              ADDRESS.withName("msg_control"),
              JAVA_LONG.withName("msg_controllen"),
              JAVA_INT.withName("msg_flags"),
              MemoryLayout.paddingLayout(4))
          .withName("struct msghdr");

  public static final StructLayout CMSGHDR =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("cmsg_len"),
              JAVA_INT.withName("cmsg_level"),
              JAVA_INT.withName("cmsg_type"))
          .withName("struct cmsghdr");

  /** CMSG_LEN(sizeof(int)): a control message with one descriptor. */
  public static final long CMSG_LEN_OF_INT = 20;

  /** CMSG_SPACE(sizeof(int)): the same with the padding behind it. */
  public static final long CMSG_SPACE_OF_INT = 24;

  public static final VarHandle IOV_BASE = IOVEC.varHandle(PathElement.groupElement("iov_base"));
  public static final VarHandle IOV_LEN = IOVEC.varHandle(PathElement.groupElement("iov_len"));
  public static final VarHandle MSG_IOV = MSGHDR.varHandle(PathElement.groupElement("msg_iov"));
  public static final VarHandle MSG_IOVLEN =
      MSGHDR.varHandle(PathElement.groupElement("msg_iovlen"));
  public static final VarHandle MSG_CONTROL =
      MSGHDR.varHandle(PathElement.groupElement("msg_control"));
  public static final VarHandle MSG_CONTROLLEN =
      MSGHDR.varHandle(PathElement.groupElement("msg_controllen"));
  public static final VarHandle CMSG_LEN = CMSGHDR.varHandle(PathElement.groupElement("cmsg_len"));
  public static final VarHandle CMSG_LEVEL =
      CMSGHDR.varHandle(PathElement.groupElement("cmsg_level"));
  public static final VarHandle CMSG_TYPE =
      CMSGHDR.varHandle(PathElement.groupElement("cmsg_type"));

  private static final MethodHandle SOCKETPAIR =
      Downcalls.capturingErrno(
          "socketpair", FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS));
  private static final MethodHandle SENDMSG =
      Downcalls.capturingErrno(
          "sendmsg", FunctionDescriptor.of(JAVA_LONG, JAVA_INT, ADDRESS, JAVA_INT));

  private Socket() {}

  /** Writes two descriptors, 32-bit each, to {@code pair}. */
  public static int socketpair(int domain, int type, int protocol, MemorySegment pair) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result(
          (int) SOCKETPAIR.invokeExact(state, domain, type, protocol, pair), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static long sendmsg(int fd, MemorySegment msghdr, int flags) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((long) SENDMSG.invokeExact(state, fd, msghdr, flags), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }
}
