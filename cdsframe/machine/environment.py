"""Defaults of native libraries (OpenMP, oneDNN), set as environment variables before torch is loaded.

OpenMP's threads wait for each other at the end of each parallel loop. By default they spin there for milliseconds. On
cores that other programs use too, a thread then spins while the thread that it waits for is not running, and a step
takes a multiple of its CPU time. These defaults shorten the spinning to what idle cores need; while other programs are
busy, `cdsframe.machine.shared_cores` makes the threads sleep at once (figures: docs/speed.md).

In bfloat16, oneDNN makes kernels for each new number of tokens, about 1 MB each, and keeps 1,024 of them: a gigabyte
that no estimate of tensors sees. All decoder layers have the same shapes, so a step reuses its kernels with 64, too.

LanceDB's log shows errors only. Does not change a variable that the user has set, and does nothing for libraries that
are already loaded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Each of these decides how OpenMP's threads wait."""

_BRIEF = {"GOMP_SPINCOUNT": "40000", "KMP_BLOCKTIME": "1"}
"""How long threads spin before they sleep: iterations of 10 to 50 ns (GNU's OpenMP), milliseconds (LLVM's, Intel's)."""

_COUNT = "OMP_NUM_THREADS"

_KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
"""Kernels that oneDNN keeps, and torch's layer above it."""

_LOGS = {"LANCEDB_LOG": "error"}
"""At its default level, LanceDB warns of each new index: "No existing dataset at …"."""

_KERNELS_BY_DEFAULT = 1024

_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = Path("/sys/fs/cgroup/cpu")


def set_defaults(environment: MutableMapping[str, str] = os.environ) -> None:
    """Bounds how long OpenMP's threads spin, their number by a container's limit, and oneDNN's caches.

    joblib divides the cores among the jobs of a sweep: it sets `OMP_NUM_THREADS` in its processes, which stays.
    """
    if not any(name in environment for name in _WAITING):
        environment.update(_BRIEF)
    quota = cpu_quota()
    if quota is not None and _COUNT not in environment and quota < len(usable_cores()):
        environment[_COUNT] = str(quota)
    for name, value in (_KERNELS | _LOGS).items():
        environment.setdefault(name, value)


def waiting_by_default(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether how OpenMP's threads wait was left to `set_defaults`, in this process or in one that started it."""
    return {name: environment[name] for name in _WAITING if name in environment} == _BRIEF


def cached_kernels() -> int:
    """The most kernels that oneDNN keeps in this process, at most its own default: a training makes no more."""
    try:
        return min(max(0, int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])), _KERNELS_BY_DEFAULT)
    except (KeyError, ValueError):
        return _KERNELS_BY_DEFAULT


def usable_cores() -> Collection[int]:
    """The numbers of the cores on which the system lets this process run."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def cpu_quota() -> int | None:
    """The cores that this process's container may use, rounded up; None where there is no limit.

    Libraries count the machine's cores. A container limited by `--cpus=2` on 64 cores would start 64 threads.
    """
    try:
        if _CGROUP_2.is_file():
            quota, period = _CGROUP_2.read_text(encoding="ascii").split()
        else:
            quota = (_CGROUP_1 / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (_CGROUP_1 / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        if quota == "max" or int(quota) <= 0:
            return None
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        return None
