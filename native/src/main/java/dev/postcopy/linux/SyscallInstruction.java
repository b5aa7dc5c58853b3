package dev.postcopy.linux;

import dev.postcopy.linux.abi.Ptrace;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.OptionalInt;

/** Finds a {@code syscall} instruction that is already in the code of a stopped thread. */
final class SyscallInstruction {
  static final int BYTE_LENGTH = 2;
  private static final byte FIRST_BYTE = 0x0f;
  private static final byte SECOND_BYTE = 0x05;

  private SyscallInstruction() {}

  /**
   * The instruction the thread is stopped behind, or else one in the vdso.
   *
   * @throws HostRefusal when there is none
   */
  static RemoteAddress find(int pid, Registers registers) {
    if (registers.get("cs") != Ptrace.USER_CS) {
      throw new HostRefusal(
          "process " + pid + " runs 32-bit code", "migrate VMs of a 64-bit VMM only");
    }
    try (FileChannel memory =
        FileChannel.open(Path.of("/proc/" + pid + "/mem"), StandardOpenOption.READ)) {
      RemoteAddress behind = new RemoteAddress(registers.get("rip")).plus(-BYTE_LENGTH);
      if (indexIn(memory, new RemoteRange(behind, BYTE_LENGTH)).isPresent()) {
        return behind;
      }
      for (RemoteRange vdso : vdso(pid)) {
        OptionalInt index = indexIn(memory, vdso);
        if (index.isPresent()) {
          return vdso.start().plus(index.getAsInt());
        }
      }
    } catch (IOException e) {
      throw new HostRefusal(
          "cannot read the memory of process " + pid + ": " + e.getMessage(),
          "run the agent as root or with CAP_SYS_PTRACE");
    }
    throw new HostRefusal(
        "process " + pid + " has no vdso with a syscall instruction",
        "boot the host without vdso=0");
  }

  private static List<RemoteRange> vdso(int pid) {
    return ProcMaps.read(pid).stream()
        .filter(mapping -> mapping.path().equals("[vdso]") && mapping.executable())
        .map(Mapping::range)
        .toList();
  }

  private static OptionalInt indexIn(FileChannel memory, RemoteRange range) throws IOException {
    ByteBuffer code = ByteBuffer.allocate(Math.toIntExact(range.byteLength()));
    if (range.start().value() < 0 || !readFully(memory, code, range.start().value())) {
      return OptionalInt.empty();
    }
    for (int i = 0; i + 1 < code.capacity(); i++) {
      if (code.get(i) == FIRST_BYTE && code.get(i + 1) == SECOND_BYTE) {
        return OptionalInt.of(i);
      }
    }
    return OptionalInt.empty();
  }

  private static boolean readFully(FileChannel memory, ByteBuffer target, long position)
      throws IOException {
    while (target.hasRemaining()) {
      if (memory.read(target, position + target.position()) <= 0) {
        return false;
      }
    }
    return true;
  }
}
