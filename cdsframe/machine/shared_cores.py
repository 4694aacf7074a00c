"""Makes OpenMP's threads sleep at once, instead of spinning, while other programs use the same cores.

GNU's OpenMP, used by PyTorch's Linux wheels, lets a waiting thread spin (`GOMP_SPINCOUNT`) before it sleeps. That is
fast on idle cores. On shared cores, the thread that it waits for is often not running, and a training step takes
several times the CPU time. If a process has more OpenMP threads than cores, its threads spin for only about a
microsecond (libgomp's manual, "GOMP_SPINCOUNT"). So while other programs are busy, `watch` creates idle OpenMP teams
(groups of OpenMP threads that compute nothing) until the process has more OpenMP threads than cores. Does not change
the threads that compute, so results are bit-identical.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cdsframe.machine.environment import usable_cores, waiting_by_default

_STATISTICS = Path("/proc/stat")
_EVERY = 0.5
"""Seconds between two measurements of other programs' CPU use."""
_BUSY, _QUIET = 0.5, 0.25
"""Number of missing cores (this process's threads, plus the cores that others use, minus all cores) from which idle
OpenMP teams are created, and below which they are ended."""
_ELEMENTS = 1 << 16
"""Elements per thread of a tensor that is large enough for all threads: PyTorch gives each at least 32,768 elements."""

_start = threading.Lock()
_watcher: threading.Thread | None = None


class Times(NamedTuple):
    """The time of a measurement, and the CPU-seconds that all programs and this process have used until then."""

    at: float
    all: float
    own: float


def watch() -> None:
    """Makes OpenMP's threads sleep instead of spin whenever other programs are busy, until the process ends.

    Starts a thread that measures other programs' CPU use, once per process; a forked process must call it again.
    Does nothing on a single core, on systems without `/proc/stat`, or if the user has set how OpenMP's threads wait.
    """
    global _watcher
    if len(usable_cores()) < 2 or not _STATISTICS.is_file() or not waiting_by_default():
        return
    with _start:
        if _watcher is None or not _watcher.is_alive():  # a forked process inherits the object but not the thread
            _watcher = threading.Thread(target=_look, name="shared-cores", daemon=True)
            _watcher.start()


def times(cores: Collection[int]) -> Times:
    """Reads the CPU time of all programs on these cores, including the hypervisor's steal time, and of this process."""
    ticks = 0
    for line in _STATISTICS.read_text(encoding="ascii").splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores:
            used = [int(value) for value in values[:8]]
            ticks += sum(used[:3]) + sum(used[5:])  # without idle and iowait; user and nice include guest time
    return Times(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


def used_by_others(before: Times, now: Times) -> float:
    """Returns how many cores other programs used on average between two readings."""
    return ((now.all - before.all) - (now.own - before.own)) / (now.at - before.at)


class IdleTeam:
    """An idle OpenMP team: OpenMP threads that compute nothing until `end`.

    They only make the process have more OpenMP threads than cores, so that its waiting threads do not spin.
    """

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="idle-team", daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        import torch

        torch.zeros(_ELEMENTS * torch.get_num_threads())  # creates the OpenMP team, which lives as long as this thread
        self._ended.wait()

    def end(self) -> None:
        """Ends the team's threads."""
        self._ended.set()
        self._thread.join()


def teams_needed(threads: int, cores: int) -> int:
    """Returns how many idle teams of `threads` threads give the process more than `cores` OpenMP threads.

    A team adds `threads - 1` threads: its first thread is a Python thread of this process.
    """
    return math.ceil((cores + 1 - threads) / (threads - 1))


def crowded(already: bool, others: float, threads: int, cores: int) -> bool:
    """Whether other programs, which use `others` cores, leave fewer cores than this process has threads.

    If idle teams exist `already`, a smaller shortage counts, so that teams are not created and ended in turns.
    """
    return threads > 1 and threads + others - cores >= (_QUIET if already else _BUSY)


def _look() -> None:
    """Creates idle OpenMP teams while other programs are busy, and ends them afterwards; never returns.

    With these teams the process has more OpenMP threads than cores, so that its waiting threads sleep instead of spin.
    """
    teams, before = list[IdleTeam](), None
    while True:
        time.sleep(_EVERY)
        with suppress(OSError, ValueError, RuntimeError):  # unreadable file or no thread available: retry later
            cores = usable_cores()
            now = times(cores)
            others, before = used_by_others(before, now) if before else 0.0, now
            threads = _threads()
            if crowded(bool(teams), others, threads, len(cores)):
                while len(teams) < teams_needed(threads, len(cores)):
                    teams.append(IdleTeam())
            else:
                while teams:
                    teams.pop().end()


def _threads() -> int:
    """Returns the number of threads that a PyTorch operation uses; 0 if torch is not loaded."""
    if "torch" not in sys.modules:
        return 0
    import torch  # waits if another thread is importing it

    return torch.get_num_threads()
