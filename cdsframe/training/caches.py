"""Memory that libraries take in training on a CPU beside all tensors. Does not set the caches' bounds.

`cdsframe.machine.environment` does.
"""

from __future__ import annotations

from cdsframe.machine.environment import cached_kernels

KERNEL_BYTES = 1 << 20
"""Bytes of one oneDNN kernel and its buffers (measured: .95 MB with AMX, .6 to .7 without)."""
FRAGMENTS = 0.31
"""Bytes of holes between tensors in the C library's heap, for each byte of activations (measured: .14 to .53)."""
LIBRARIES_BYTES = 10**8
"""Pages of the libraries' code and buffers that the first training step touches (measured)."""


def library_bytes(device_type: str, reduced_precision: bool) -> int:
    """Bytes that the libraries take in training beside all tensors."""
    if device_type != "cpu":
        return 0
    return LIBRARIES_BYTES + (cached_kernels() * KERNEL_BYTES if reduced_precision else 0)


def fragment_bytes(device_type: str, activations: int) -> int:
    """Bytes that the heap keeps between a CPU's tensors at the peak: freed, and too small for the next tensor."""
    return round(FRAGMENTS * activations) if device_type == "cpu" else 0
