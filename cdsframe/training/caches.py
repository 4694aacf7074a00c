"""Estimates the memory that libraries use besides tensors when a model is trained on a CPU.

Does not limit oneDNN's cache of kernels; `cdsframe.machine.environment` does.
"""

from __future__ import annotations

from cdsframe.machine.environment import cached_kernels

KERNEL_BYTES = 1 << 20
"""Bytes of one oneDNN kernel and its buffers (measured: .95 MB with AMX, .6 to .7 without)."""
FRAGMENTS = 0.31
"""Bytes of holes between tensors in the C library's heap, per byte of activations (measured: .14 to .53)."""
LIBRARIES_BYTES = 10**8
"""Bytes of the libraries' code and buffers that the first training step loads (measured)."""


def library_bytes(device_type: str, reduced_precision: bool) -> int:
    """Returns the bytes that libraries use besides tensors in training; 0 if the device is not a CPU.

    `reduced_precision`: whether weights are multiplied in fewer bits than float32, by oneDNN's kernels.
    """
    if device_type != "cpu":
        return 0
    return LIBRARIES_BYTES + (cached_kernels() * KERNEL_BYTES if reduced_precision else 0)


def fragment_bytes(device_type: str, activations: int) -> int:
    """Returns the bytes of freed memory between tensors at the peak; 0 if the device is not a CPU."""
    return round(FRAGMENTS * activations) if device_type == "cpu" else 0
