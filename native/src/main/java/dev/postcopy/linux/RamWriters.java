package dev.postcopy.linux;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.FileCalls;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;

/**
 * Which processes have a RAM file mapped to write to it, proc_pid_maps(5). Looks at every process
 * of the host that this one may trace, which takes some milliseconds: not for the way of a fault,
 * nor while a guest stands still.
 *
 * <p>Done every second for each migration, and there are thousands of mappings: so the kernel is
 * asked for those that count, and where it is too old for that, a line becomes an object only where
 * it is of such a one. Garbage that is made here is collected while all faults of the process wait.
 */
public final class RamWriters {

  /**
   * Longer than a line, whose path has 4096 bytes at the most, each as {@code \012} in the worst
   * case.
   */
  private static final int BUFFER_BYTES = 32 * 1024;

  /** Behind the space that follows the addresses: {@code rwxs}. */
  private static final int WRITABLE = 2;

  private static final int SHARED = 4;

  private final List<RamMapping> ram;
  private final WritableFileMappings mappings = new WritableFileMappings();
  private final byte[] buffer = new byte[BUFFER_BYTES];
  private boolean kernelFinds;

  private RamWriters(List<RamMapping> ram, boolean kernelFinds) {
    this.ram = ram;
    this.kernelFinds = kernelFinds;
  }

  /**
   * A process that may write to one of the RAM files, and is not the VMM whose RAM it is. One that
   * has come and gone is not seen.
   *
   * @param vmm the VMM; it may have ended
   * @param vmmStartTicks when it started, {@link ProcessStart#ticks}: its pid may be another's now
   * @param ram the blocks of the VMM
   */
  public static OptionalInt findBeside(int vmm, long vmmStartTicks, List<RamMapping> ram) {
    return findBeside(vmm, vmmStartTicks, ram, true);
  }

  /**
   * @param kernelFinds whether the kernel is asked for the mappings that count, as long as it knows
   *     how; otherwise all are read
   */
  static OptionalInt findBeside(
      int vmm, long vmmStartTicks, List<RamMapping> ram, boolean kernelFinds) {
    RamWriters writers = new RamWriters(ram, kernelFinds);
    try (DirectoryStream<Path> processes = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
      for (Path process : processes) {
        int pid = Integer.parseInt(process.getFileName().toString());
        if (writers.include(process) && !(pid == vmm && ProcessStart.isAlive(pid, vmmStartTicks))) {
          return OptionalInt.of(pid);
        }
      }
      return OptionalInt.empty();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read /proc", e);
    }
  }

  private boolean include(Path process) {
    return kernelFinds ? isFound(process) : isRead(process);
  }

  private boolean isFound(Path process) {
    try (OwnedFd maps = OwnedFd.open(process.resolve("maps").toString(), FileCalls.O_RDONLY)) {
      int result = mappings.next(maps, 0);
      while (result == 0) {
        if (isOfRam(mappings.device(), mappings.inode())) {
          return true;
        }
        result = mappings.next(maps, mappings.endAddress());
      }
      if (result != -Errno.ENOTTY) {
        return false;
      }
    } catch (LinuxException e) {
      // Gone meanwhile, or not ours to look at.
      return false;
    }
    kernelFinds = false;
    return isRead(process);
  }

  private boolean isRead(Path process) {
    try (InputStream maps = Files.newInputStream(process.resolve("maps"))) {
      int filled = 0;
      for (int read = 0; read >= 0; read = maps.read(buffer, filled, buffer.length - filled)) {
        filled += read;
        int done = 0;
        for (int end = endOfLine(done, filled); end < filled; end = endOfLine(done, filled)) {
          if (isOfRam(done, end)) {
            return true;
          }
          done = end + 1;
        }
        filled -= done;
        System.arraycopy(buffer, done, buffer, 0, filled);
      }
    } catch (IOException e) {
      // Gone meanwhile, or not ours to look at.
    }
    return false;
  }

  private int endOfLine(int from, int limit) {
    int at = from;
    while (at < limit && buffer[at] != '\n') {
      at++;
    }
    return at;
  }

  private boolean isOfRam(int start, int end) {
    int space = start;
    while (space < end && buffer[space] != ' ') {
      space++;
    }
    if (space + SHARED >= end || buffer[space + SHARED] != 's' || buffer[space + WRITABLE] != 'w') {
      return false;
    }
    Mapping mapping = ProcMaps.parse(new String(buffer, start, end - start, UTF_8));
    return mapping.shared() && mapping.writable() && isOfRam(mapping.device(), mapping.inode());
  }

  private boolean isOfRam(long device, long inode) {
    return ram.stream().anyMatch(block -> block.device() == device && block.inode() == inode);
  }
}
