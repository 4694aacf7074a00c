"""Sets defaults of native libraries (OpenMP, oneDNN, LanceDB) as environment variables before torch is loaded.

OpenMP's threads wait for each other at the end of each parallel loop, by default spinning for milliseconds. On cores
shared with other programs, a thread then spins while the thread that it waits for is not running, and a training step
takes several times the CPU time. These defaults limit the spinning to what idle cores need; while other programs are
busy, `cdsframe.machine.shared_cores` makes the threads sleep at once (measurements: docs/speed.md).

In bfloat16, oneDNN compiles kernels for each new number of tokens, about 1 MB each, and caches 1,024 of them: a
gigabyte that tensor estimates do not include. All decoder layers have the same shapes, so 64 suffice for a step.

LanceDB logs errors only. Does not change variables set by the user, and does not affect libraries already loaded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables that set how OpenMP's threads wait."""

_BRIEF = {"GOMP_SPINCOUNT": "40000", "KMP_BLOCKTIME": "1"}
"""Spin time before a waiting thread sleeps: iterations of 10 to 50 ns (GNU's OpenMP), ms (LLVM's and Intel's)."""

_COUNT = "OMP_NUM_THREADS"

_KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
"""Maximum number of cached kernels, in oneDNN and in torch's layer above it."""

_LOGS = {"LANCEDB_LOG": "error"}
"""At its default level, LanceDB warns of each new index: "No existing dataset at …"."""

_KERNELS_BY_DEFAULT = 1024

_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = Path("/sys/fs/cgroup/cpu")


def set_defaults(environment: MutableMapping[str, str] = os.environ) -> None:
    """Limits how long OpenMP's threads spin, their number (to a container's CPU limit), and oneDNN's caches.

    Keeps `OMP_NUM_THREADS` if it is set: joblib sets it to divide the cores among the jobs of a sweep.
    """
    if not any(name in environment for name in _WAITING):
        environment.update(_BRIEF)
    quota = cpu_quota()
    if quota is not None and _COUNT not in environment and quota < len(usable_cores()):
        environment[_COUNT] = str(quota)
    for name, value in (_KERNELS | _LOGS).items():
        environment.setdefault(name, value)


def waiting_by_default(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `set_defaults`, here or in a parent process, chose how OpenMP's threads wait."""
    return {name: environment[name] for name in _WAITING if name in environment} == _BRIEF


def cached_kernels() -> int:
    """Returns the maximum number of kernels that oneDNN caches in this process, at most its default of 1,024."""
    try:
        return min(max(0, int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])), _KERNELS_BY_DEFAULT)
    except (KeyError, ValueError):
        return _KERNELS_BY_DEFAULT


def usable_cores() -> Collection[int]:
    """Returns the numbers of the cores on which this process may run."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def cpu_quota() -> int | None:
    """Returns the container's CPU limit in cores, rounded up; None without a limit.

    Libraries count the machine's cores: with `--cpus=2` on 64 cores they would start 64 threads.
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
