package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.EACCES;
import static dev.postcopy.linux.abi.Errno.EPERM;

import dev.postcopy.linux.abi.FileCalls;
import java.util.List;

/**
 * Where a VMM has mapped one RAM block.
 *
 * @param pid the VMM
 * @param blockId the name of the block, for messages
 * @param range the addresses of the whole block in the VMM
 * @param fileByteOffset where in the RAM file the block starts
 * @param firstVma the addresses of the block's first VMA, which name its file in
 *     /proc/PID/map_files
 * @param device the st_dev of the RAM file
 * @param inode the st_ino of the RAM file
 * @param path the path of the RAM file, which need not exist any more
 */
public record RamMapping(
    int pid,
    String blockId,
    RemoteRange range,
    long fileByteOffset,
    RemoteRange firstVma,
    long device,
    long inode,
    String path) {
  private static final String MEMFD_PREFIX = "/memfd:";

  /**
   * Finds the one shared, writable mapping of a RAM block and checks that it is on tmpfs.
   *
   * @param blockId the name of the block, for messages
   * @param memPath the file, or a directory in which the VMM made an unlinked file; empty for a
   *     memfd
   * @param byteLength the length of the block, exactly
   * @throws HostRefusal when there is none or more than one, it is not shared or not on tmpfs, or
   *     it may not be looked at
   * @throws LinuxException ESRCH when there is no such process
   */
  public static RamMapping locate(int pid, String blockId, String memPath, long byteLength) {
    List<Mapping> mappings = ProcMaps.mergeAdjacent(ProcMaps.read(pid));
    Mapping mapping = choose(mappings, pid, blockId, memPath, byteLength);
    RamMapping ram =
        new RamMapping(
            pid,
            blockId,
            mapping.range(),
            mapping.fileByteOffset(),
            mapping.firstVma(),
            mapping.device(),
            mapping.inode(),
            mapping.path());
    try (RamFile file = ram.open(false)) {
      file.requireTmpfs(blockId);
    }
    return ram;
  }

  static Mapping choose(
      List<Mapping> mappings, int pid, String blockId, String memPath, long byteLength) {
    List<Mapping> sized =
        mappings.stream()
            .filter(m -> m.range().byteLength() == byteLength && isBackedBy(m.path(), memPath))
            .toList();
    List<Mapping> usable = sized.stream().filter(m -> m.shared() && m.writable()).toList();
    String backing = memPath.isEmpty() ? "a memfd" : memPath;
    if (usable.size() == 1) {
      return usable.getFirst();
    }
    if (usable.size() > 1) {
      throw new HostRefusal(
          "RAM block %s: process %d maps %d candidates of %d bytes from %s"
              .formatted(blockId, pid, usable.size(), byteLength, backing),
          "give every memory backend a mem-path of its own");
    }
    if (!sized.isEmpty()) {
      throw new HostRefusal(
          "RAM block %s: process %d maps %s, but not shared and writable"
              .formatted(blockId, pid, backing),
          "start the VM with share=on on its memory backend");
    }
    throw new HostRefusal(
        "RAM block %s: process %d has no mapping of %d bytes of %s"
            .formatted(blockId, pid, byteLength, backing),
        "give the VM a memory-backend-file on tmpfs with share=on");
  }

  /** Whether it is on the kernel's own tmpfs, memfd_create(2). */
  public boolean isMemfd() {
    return path.startsWith(MEMFD_PREFIX);
  }

  private static boolean isBackedBy(String path, String memPath) {
    if (memPath.isEmpty()) {
      return path.startsWith(MEMFD_PREFIX);
    }
    if (path.equals(memPath)) {
      return true;
    }
    String directory = memPath.endsWith("/") ? memPath : memPath + "/";
    return path.startsWith(directory) && path.indexOf('/', directory.length()) < 0;
  }

  /**
   * Opens the RAM file behind the block.
   *
   * @throws HostRefusal when /proc/PID/map_files may not be used, proc_pid_map_files(5)
   * @throws LinuxException ENOENT when the block is no longer mapped there, ESRCH or ENOENT when
   *     the process is gone
   */
  public RamFile open(boolean writable) {
    String link =
        "/proc/%d/map_files/%x-%x".formatted(pid, firstVma.start().value(), firstVma.end().value());
    OwnedFd fd;
    try {
      fd = OwnedFd.open(link, writable ? FileCalls.O_RDWR : FileCalls.O_RDONLY);
    } catch (LinuxException e) {
      if (e.errno() == EPERM || e.errno() == EACCES) {
        throw new HostRefusal(
            "RAM block %s: no right to open %s".formatted(blockId, link),
            "run the agent as root, or with CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE and access to the"
                + " file");
      }
      throw e;
    }
    return RamFile.of(fd, this);
  }
}
