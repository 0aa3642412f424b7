"""Reads the CPU time and the memory of a process, and measures the disk."""

import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

_CLOCK_OF_A_PROCESS = 2
"""``CPUCLOCK_SCHED``: with a process id it makes the id of a clock (clock_getcpuclockid(3))."""


def cpu_s(pid: int) -> float:
    """Return the CPU time of all threads of a process so far: utime and stime of proc(5).

    ``/proc/PID/stat`` counts in hundredths of a second, this clock in nanoseconds.
    """
    return time.clock_gettime_ns((~pid << 3) | _CLOCK_OF_A_PROCESS) / 1e9


def rss_mb(pid: int) -> float:
    """Return the memory of a process now (``VmRSS``)."""
    return _status_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """Return the most memory it has had since its start or since `reset_peak` (``VmHWM``)."""
    return _status_mb(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Reset `peak_mb` (``/proc/PID/clear_refs``)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class OtherWork:
    """Measures the CPU that others use from now on: other programs, and other virtual machines.

    If it is much, the other figures mean little.
    """

    def __init__(self) -> None:
        self._started_s, self._before_s = time.monotonic(), self._cpu_s()

    @property
    def percent(self) -> float:
        """Their CPU time until now, on average, as percent of a core."""
        return (self._cpu_s() - self._before_s) / (time.monotonic() - self._started_s) * 100

    def _cpu_s(self) -> float:
        """Return all CPU time except idle and iowait (proc_stat(5)), and except our own.

        Our own is that of this process and of all of its children that have ended.
        """
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        used_s = (sum(map(int, fields)) - int(fields[3]) - int(fields[4])) / os.sysconf(
            "SC_CLK_TCK"
        )
        own = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return used_s - sum(each.ru_utime + each.ru_stime for each in own)


def sync_ms() -> float:
    """Return how long a synced write of 4 KiB takes here: the median of a hundred.

    relay waits for such a write before it sends an event; the script waits for none.
    """
    times_s = []
    with tempfile.TemporaryFile(prefix="relay-") as file:
        for place in range(100):
            os.pwrite(file.fileno(), b"x" * 4096, place * 4096)
            started_s = time.perf_counter()
            os.fdatasync(file.fileno())
            times_s.append(time.perf_counter() - started_s)
    return statistics.median(times_s) * 1e3


def _status_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(found.split()[1]) / 1024
