"""Measures the CPU time and the peak memory of this process while a run works.

Does not measure a GPU's memory, and does not add up the memory of child processes.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Resources:
    """CPU seconds and peak memory from its construction on.

    Jobs of a multirun may share a process, so the CPU time before is subtracted, and the operating system's peak is
    reset (Linux). If a forked process asks, everything that it used counts.
    """

    def __init__(self) -> None:
        self._process, self._cpu = os.getpid(), _cpu_seconds()
        self._before = None if _reset_peak() else _peak_mib()

    def used(self) -> dict[str, float]:
        """`cpu_seconds`: of all threads, and of child processes that have ended. `peak_mib`: resident memory, in MiB.

        Omits what the operating system does not report. Omits the peak if it cannot be reset and earlier work of the
        process needed as much.
        """
        forked = os.getpid() != self._process
        used = {}
        cpu, peak = _cpu_seconds(), _peak_mib()
        if cpu is not None and self._cpu is not None:
            used["cpu_seconds"] = round(cpu - (0 if forked else self._cpu), 3)
        if peak is not None and (forked or self._before is None or peak > self._before):
            used["peak_mib"] = round(peak, 1)
        return used


def _cpu_seconds() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _reset_peak() -> bool:
    """Makes the peak that `_peak_mib` reads the current memory; False if the operating system cannot."""
    with suppress(OSError):
        _RESET.write_text("5", encoding="ascii")  # proc_pid_clear_refs(5): resets the peak resident set size
        return True
    return False


def _peak_mib() -> float | None:
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
