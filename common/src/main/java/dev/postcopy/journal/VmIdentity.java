package dev.postcopy.journal;

import dev.postcopy.qmp.MemoryBackend;
import java.util.List;

/**
 * Which QEMU a journal is about, and where its RAM is; enough to find both without its monitor,
 * which may be blocked by a missing page.
 *
 * @param pid QEMU's process
 * @param startTicks when that process started, proc_pid_stat(5) field 22: pids are used again
 * @param qmpSocket its monitor
 * @param backends its RAM, in the order of the migration's layout
 */
public record VmIdentity(
    int pid, long startTicks, String qmpSocket, List<MemoryBackend> backends) {}
