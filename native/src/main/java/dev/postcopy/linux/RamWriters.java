package dev.postcopy.linux;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;

/**
 * Which processes have a RAM file mapped to write to it, proc_pid_maps(5). Reads the mappings of
 * every process of the host that this one may trace, which takes some milliseconds: not for the way
 * of a fault, nor while a guest stands still.
 */
public final class RamWriters {

  private RamWriters() {}

  /**
   * A process that may write to one of the RAM files, and is not the VMM whose RAM it is. One that
   * has come and gone is not seen.
   *
   * @param vmm the VMM; it may have ended
   * @param vmmStartTicks when it started, {@link ProcessStart#ticks}: its pid may be another's now
   * @param ram the blocks of the VMM
   */
  public static OptionalInt findBeside(int vmm, long vmmStartTicks, List<RamMapping> ram) {
    try (DirectoryStream<Path> processes = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
      for (Path process : processes) {
        int pid = Integer.parseInt(process.getFileName().toString());
        if (maps(pid, ram) && !(pid == vmm && ProcessStart.isAlive(pid, vmmStartTicks))) {
          return OptionalInt.of(pid);
        }
      }
      return OptionalInt.empty();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read /proc", e);
    }
  }

  private static boolean maps(int pid, List<RamMapping> ram) {
    try {
      return ProcStatus.lines(pid, "maps").stream()
          // Most mappings are no shared ones, and not worth being taken apart.
          .filter(line -> line.contains("w-s ") || line.contains("wxs "))
          .map(ProcMaps::parse)
          .anyMatch(mapping -> ram.stream().anyMatch(block -> isOf(mapping, block)));
    } catch (LinuxException | HostRefusal | UncheckedIOException e) {
      // Gone meanwhile, or not ours to look at.
      return false;
    }
  }

  private static boolean isOf(Mapping mapping, RamMapping block) {
    return mapping.shared()
        && mapping.writable()
        && mapping.device() == block.device()
        && mapping.inode() == block.inode();
  }
}
