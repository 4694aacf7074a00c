"""Bounds on the caches that oneDNN fills in training on a CPU: kernels made for each shape of a matrix product.

In bfloat16 each new number of tokens needs new kernels, about 1 MB each, of which oneDNN keeps 1024: a gigabyte that no
estimate of tensors sees. Reads nothing of the model.
"""

from __future__ import annotations

import os

CAPACITY = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
"""Kernels that are kept, by oneDNN and by torch's layer above it. All decoder layers have the same shapes, so that one
step's kernels are reused within the step."""
KERNEL_BYTES = 1 << 20
"""Of one kernel with its buffers (measured: .95 MB with AMX, .6 to .7 without)."""
LIBRARIES_BYTES = 10**8
"""Pages of the libraries' code and buffers that the first training step touches (measured)."""


def bound_caches() -> None:
    """Sets the capacities, never over the user's own variables. Has effect before the first product in bfloat16."""
    for name, capacity in CAPACITY.items():
        os.environ.setdefault(name, capacity)


def library_bytes(device_type: str, reduced_precision: bool) -> int:
    """Bytes that the libraries take in training beside all tensors."""
    if device_type != "cpu":
        return 0
    kernels = int(os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY") or 1024) if reduced_precision else 0
    return LIBRARIES_BYTES + kernels * KERNEL_BYTES
