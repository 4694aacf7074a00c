"""How fast training is against what the device can: its matrix peak, the arithmetic of a token, the memory at most.

Counts the linear layers only, as the usual figure does (6 N a token where all weights are trained, 4 N where they are
frozen); attention and the output layer come on top. Does not train.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import torch


def flops_per_token(model: Any) -> float:
    """Multiplications and additions for one token, forward and backward, in the layers between the embeddings."""
    kept = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    total = 0
    for weight in model.parameters():
        if weight.ndim == 2 and id(weight) not in kept:
            state = getattr(weight, "quant_state", None)
            count = weight.numel() if state is None else state.shape.numel()
            total += (6 if weight.requires_grad else 4) * count
    return float(total)


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second in one large matrix product, measured: the best of five."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best = 0.0
    for _ in range(5):
        _wait(device)
        started = time.perf_counter()
        left @ right
        _wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def peak_memory(device: torch.device) -> int:
    """Bytes at most so far: of the GPU's memory, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
