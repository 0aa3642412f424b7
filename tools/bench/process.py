"""What a process costs, read from outside of it, and what the disk does."""

import os
import statistics
import tempfile
import time
from pathlib import Path

_CLOCK_OF_A_PROCESS = 2
"""``CPUCLOCK_SCHED``: the clock whose id is made of a process's (clock_getcpuclockid(3))."""


def cpu_s(pid: int) -> float:
    """The CPU time that it has used so far, of all its threads: utime and stime of proc(5).

    ``/proc/PID/stat`` has it in hundredths of a second, this clock in nanoseconds.
    """
    return time.clock_gettime_ns((~pid << 3) | _CLOCK_OF_A_PROCESS) / 1e9


def rss_mb(pid: int) -> float:
    """The memory that it has now (``VmRSS``)."""
    return _status_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """The most that it has had since its start or since `forget_peak` (``VmHWM``)."""
    return _status_mb(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Begin `peak_mb` anew (``/proc/PID/clear_refs``)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def sync_ms() -> float:
    """How long a synced write of 4 KiB takes here: the median of a hundred.

    relay waits for one before it tells of an event, and the script for none.
    """
    times_s = []
    with tempfile.TemporaryFile(prefix="relay-") as file:
        for place in range(100):
            os.pwrite(file.fileno(), b"x" * 4096, place * 4096)
            begun_s = time.perf_counter()
            os.fdatasync(file.fileno())
            times_s.append(time.perf_counter() - begun_s)
    return statistics.median(times_s) * 1e3


def _status_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(found.split()[1]) / 1024
