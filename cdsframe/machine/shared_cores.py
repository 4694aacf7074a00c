"""Makes OpenMP's threads sleep at once, instead of spinning, while other programs use the same cores.

GNU's OpenMP, used by PyTorch's Linux wheels, lets a waiting thread spin (`GOMP_SPINCOUNT`) before it sleeps. That is
fast on idle cores. On shared cores, the thread that it waits for is often not running, and a step takes a multiple of
its CPU time. If a process has more OpenMP threads than cores, its threads spin for only about a microsecond (libgomp's
manual, "GOMP_SPINCOUNT"). So while other programs are busy, `watch` adds idle teams of threads until there are more
threads than cores. Does not change the computing threads, so results are bit-identical.
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
"""Missing cores (demand minus supply) from which idle teams start, and below which they end."""
_ELEMENTS = 1 << 16
"""Elements per thread of an operation that PyTorch runs on all threads (it needs at least 32,768 per thread)."""

_start = threading.Lock()
_watcher: threading.Thread | None = None


class Times(NamedTuple):
    """A reading: its time, and the CPU-seconds used so far by all programs and by this process."""

    at: float
    all: float
    own: float


def watch() -> None:
    """Starts a thread that measures other programs' CPU use until the process ends, once per process.

    A forked process may call it again. Does nothing if the user has set how OpenMP's threads wait, and on systems
    without `/proc/stat`.
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
    """A team of OpenMP threads that does nothing until `end`."""

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
    """Returns how many idle teams of `threads` threads bring the process to more than `cores` OpenMP threads.

    A team adds `threads - 1` threads: its first thread is a Python thread of this process.
    """
    return math.ceil((cores + 1 - threads) / (threads - 1))


def crowded(already: bool, others: float, threads: int, cores: int) -> bool:
    """Whether other programs, which use `others` cores, leave fewer cores than this process has threads."""
    return threads > 1 and threads + others - cores >= (_QUIET if already else _BUSY)


def _look() -> None:
    """Starts idle teams while other programs are busy, and ends them afterwards; never returns."""
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
    """Returns the number of threads of PyTorch's operations; 0 if torch is not loaded."""
    if "torch" not in sys.modules:
        return 0
    import torch  # waits if another thread is importing it

    return torch.get_num_threads()
