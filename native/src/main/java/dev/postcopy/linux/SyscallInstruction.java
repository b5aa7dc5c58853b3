package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** Finds a {@code syscall} instruction that a process has in its vdso, vdso(7). */
final class SyscallInstruction {
  private static final byte FIRST_BYTE = 0x0f;
  private static final byte SECOND_BYTE = 0x05;

  private SyscallInstruction() {}

  /**
   * The address of the instruction. The process need not be stopped: nobody changes its vdso.
   *
   * @throws HostRefusal when there is none, or the process may not be looked into
   * @throws LinuxException ESRCH when there is no such process
   */
  static RemoteAddress find(int pid) {
    for (Mapping mapping : ProcMaps.read(pid)) {
      if (mapping.path().equals("[vdso]")) {
        ByteBuffer code = read(pid, mapping.range());
        for (int i = 0; i + 1 < code.limit(); i++) {
          if (code.get(i) == FIRST_BYTE && code.get(i + 1) == SECOND_BYTE) {
            return mapping.range().start().plus(i);
          }
        }
      }
    }
    if (ProcStatus.hasEnded(pid)) {
      throw new LinuxException("finding the vdso of process " + pid, Errno.ESRCH);
    }
    throw new HostRefusal(
        "process " + pid + " has no vdso with a syscall instruction",
        "boot the host without vdso=0");
  }

  private static ByteBuffer read(int pid, RemoteRange range) {
    Path path = Path.of("/proc", Integer.toString(pid), "mem");
    try (FileChannel memory = FileChannel.open(path, StandardOpenOption.READ)) {
      ByteBuffer code = ByteBuffer.allocate(Math.toIntExact(range.byteLength()));
      while (code.hasRemaining()
          && memory.read(code, range.start().value() + code.position()) > 0) {}
      return code.flip();
    } catch (IOException e) {
      throw ProcStatus.failure(pid, path, e);
    }
  }
}
