"""What processes use, as /proc tells it from outside."""

import os
import pathlib
import threading

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid, thread=None):
    """User and system time of a process, with its ended threads, or of one thread; None where it is gone."""
    path = f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat"
    try:
        fields = pathlib.Path(path).read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] == "Z":
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS


def host_busy_seconds():
    """Time that the CPUs of this machine did anything at all, or were taken away from it."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def memory_mib(pid):
    """VmHWM, RssAnon, RssFile, RssShmem and Own, which is without the last, in MiB; None where the process is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in ("VmHWM", "RssAnon", "RssFile", "RssShmem"):
            found[name] = int(value.split()[0]) / 1024
    if not found:
        return None
    found["Own"] = found["RssAnon"] + found["RssFile"]
    return found


class MemoryPeaks:
    """The largest of each of memory_mib's values that a process had, looked at every 100 ms."""

    def __init__(self, pids):
        self.peaks = {name: {} for name in pids}
        self._pids = pids
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def watch(self, name, pid):
        """One more process. Both are replaced as a whole: the thread may be going through them."""
        self.peaks = {**self.peaks, name: {}}
        self._pids = {**self._pids, name: pid}

    def _run(self):
        while not self._end.wait(0.1):
            self.sample()

    def sample(self):
        for name, pid in self._pids.items():
            peak = self.peaks[name]
            for key, value in (memory_mib(pid) or {}).items():
                peak[key] = max(peak.get(key, 0), value)

    def stop(self):
        self._end.set()
        self._thread.join()
        self.sample()
        return self.peaks
