"""Measures the CPU time and the peak memory of this process while a run works.

Does not measure a GPU's memory, and does not add up the memory of child processes.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_measured: set[int] = set()
"""Ids of the processes in which a run was measured."""


class Resources:
    """CPU seconds from its construction on, and peak memory.

    Jobs of a multirun may share a process. Then the CPU time of earlier jobs is subtracted, and only the first job has
    a peak, because later jobs also hold memory of earlier ones. A process that was forked after the construction counts
    as new.
    """

    def __init__(self) -> None:
        self._process, self._cpu = os.getpid(), _cpu_seconds()
        self._first = self._process not in _measured
        _measured.add(self._process)

    def used(self) -> dict[str, float]:
        """`cpu_seconds`: of all threads, and of child processes that have ended. `peak_mib`: resident memory, in MiB.

        Omits what the operating system does not report, and the peak of a process that did other work before.
        """
        forked = os.getpid() != self._process
        cpu, peak = _cpu_seconds(), _peak_mib()
        used = {}
        if cpu is not None and self._cpu is not None:
            used["cpu_seconds"] = round(cpu - (0 if forked else self._cpu), 3)
        if peak is not None and (forked or self._first):
            used["peak_mib"] = round(peak, 1)
        return used


def _cpu_seconds() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_mib() -> float | None:
    """Linux reports the peak in `status`; `getrusage` there includes the peak of the program that started this one."""
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
