"""Memory that libraries take in training on a CPU beside all tensors. Does not set the caches' bounds.

`cdsframe.environment` does.
"""

from __future__ import annotations

from cdsframe.environment import cached_kernels

KERNEL_BYTES = 1 << 20
"""Of one kernel with its buffers (measured: .95 MB with AMX, .6 to .7 without)."""
LIBRARIES_BYTES = 10**8
"""Pages of the libraries' code and buffers that the first training step touches (measured)."""


def library_bytes(device_type: str, reduced_precision: bool) -> int:
    """Bytes that the libraries take in training beside all tensors."""
    if device_type != "cpu":
        return 0
    return LIBRARIES_BYTES + (cached_kernels() * KERNEL_BYTES if reduced_precision else 0)
