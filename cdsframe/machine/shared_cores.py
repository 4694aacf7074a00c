"""Makes OpenMP's threads sleep at once, instead of spinning, while other programs use the same cores.

GNU's OpenMP, which PyTorch's wheels for Linux have, lets a waiting thread spin (`GOMP_SPINCOUNT`) before it sleeps.
That is fast on idle cores. On cores that other programs use too, the thread that it waits for is often not running: a
step then takes a multiple of its CPU time. While a process has more OpenMP threads than cores, its threads spin for
about a microsecond only (libgomp's manual, "GOMP_SPINCOUNT"). So while other programs are busy, `watch` keeps more
threads than cores, in teams that do nothing. The threads that compute stay the same, and so does each bit of the
results.
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
"""Seconds between two measurements of other programs."""
_BUSY, _QUIET = 0.5, 0.25
"""Missing cores (demand minus supply) at which idle teams start, and below which they end."""
_ELEMENTS = 1 << 16
"""Elements for each thread of an operation that PyTorch divides among its threads (it gives each 32,768 or more)."""

_start = threading.Lock()
_watcher: threading.Thread | None = None


class Times(NamedTuple):
    """The time of a reading, and the CPU-seconds that all programs and this one had used until then."""

    at: float
    all: float
    own: float


def watch() -> None:
    """Starts a thread that measures other programs' CPU use until the process ends, once per process.

    A forked process may call it again. Does nothing where the user has set how OpenMP's threads wait, and on systems
    without Linux's `/proc/stat`.
    """
    global _watcher
    if len(usable_cores()) < 2 or not _STATISTICS.is_file() or not waiting_by_default():
        return
    with _start:
        if _watcher is None or not _watcher.is_alive():  # a forked process inherits it without its thread
            _watcher = threading.Thread(target=_look, name="shared-cores", daemon=True)
            _watcher.start()


def times(cores: Collection[int]) -> Times:
    """Reads the CPU time of all programs on these cores, with the hypervisor's share, and of this process."""
    ticks = 0
    for line in _STATISTICS.read_text(encoding="ascii").splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores:
            used = [int(value) for value in values[:8]]
            ticks += sum(used[:3]) + sum(used[5:])  # without idle and waiting; time of guests is in the first two
    return Times(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


def used_by_others(before: Times, now: Times) -> float:
    """How many cores other programs used between two readings, on average."""
    return ((now.all - before.all) - (now.own - before.own)) / (now.at - before.at)


class IdleTeam:
    """A team of OpenMP threads that does nothing until `end`."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="idle-team", daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        import torch

        torch.zeros(_ELEMENTS * torch.get_num_threads())  # OpenMP makes the team; it lives as long as this thread
        self._ended.wait()

    def end(self) -> None:
        """Ends the team's threads."""
        self._ended.set()
        self._thread.join()


def teams_needed(threads: int, cores: int) -> int:
    """How many idle teams of `threads` threads a process needs, beside the team that works, to have more than `cores`.

    A team's first thread does not count: it is the program's own.
    """
    return math.ceil((cores + 1 - threads) / (threads - 1))


def crowded(already: bool, others: float, threads: int, cores: int) -> bool:
    """Whether other programs, which use `others` cores, leave fewer than this program's threads need."""
    return threads > 1 and threads + others - cores >= (_QUIET if already else _BUSY)


def _look() -> None:
    """Starts idle teams while other programs are busy, and ends them afterwards; never returns."""
    teams, before = list[IdleTeam](), None
    while True:
        time.sleep(_EVERY)
        with suppress(OSError, ValueError, RuntimeError):  # no file, odd lines, no further thread: look again later
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
    """The threads of PyTorch's operations; 0 where it is not loaded."""
    if "torch" not in sys.modules:
        return 0
    import torch  # waits until another thread that imports it is done

    return torch.get_num_threads()
