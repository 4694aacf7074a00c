"""Computes frozen RMSNorm layers on CPUs as one autograd function, in blocks of rows that stay in the cache.

transformers' layer makes several float32 copies of its input and keeps some for the backward pass; this one keeps the
input and one number per row. Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4. Does not train the norm's weight.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from cdsframe.training.proof import TOLERANCE

log = logging.getLogger(__name__)

ROWS = 128
"""Number of rows in a block."""


def fuse_norms(model: Any) -> int:
    """Sets the function for each frozen RMSNorm on the CPU whose own results it reproduces. Returns their number."""
    found = list(_candidates(model))
    chosen = [norm for norm in found if _agrees(norm)]
    for norm in chosen:
        norm.forward = partial(_forward, norm, norm.forward)
    if found:
        log.info("RMSNorm: %d of %d layers are fused", len(chosen), len(found))
    return len(chosen)


def _candidates(model: Any) -> Iterator[Any]:
    """Layers that hold what transformers' RMSNorm layers hold: one frozen weight and `variance_epsilon`.

    Their `forward` takes the hidden states alone; gated norms take a gate too.
    """
    for module in model.modules():
        names = [name for name, _ in module.named_parameters()]
        if names == ["weight"] and hasattr(module, "variance_epsilon") and "forward" not in vars(module):
            if len(inspect.signature(module.forward).parameters) != 1:
                continue
            frozen, on_cpu = not module.weight.requires_grad, module.weight.device.type == "cpu"
            if frozen and on_cpu and not (module._forward_hooks or module._forward_pre_hooks):
                yield module


def _agrees(norm: Any) -> bool:
    """Whether the function gives the layer's own result and gradient on a random input. Changes no random state."""
    chooser = torch.Generator().manual_seed(0)
    x, out = (torch.randn(3, len(norm.weight), generator=chooser).to(norm.weight.dtype) for _ in range(2))
    pairs = []
    try:
        for compute in (norm.forward, lambda x: RmsNorm.apply(x, norm.weight, norm.variance_epsilon)):
            given = x.clone().requires_grad_(True)
            with torch.enable_grad():
                result = compute(given)
            result.backward(out)
            pairs.append((result.detach(), given.grad))
    except (TypeError, ValueError, RuntimeError, AttributeError):  # not a norm of the last dimension
        return False
    allowed = TOLERANCE.get(x.dtype, TOLERANCE[torch.bfloat16])
    return all(bool((one - other).norm() <= allowed * one.norm()) for one, other in zip(*pairs, strict=True))


def _forward(norm: Any, plain: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Computes the layer by `RmsNorm` if the input's device and type allow it; else calls `plain`."""
    if x.device.type != "cpu" or x.dtype != norm.weight.dtype or norm.weight.requires_grad:
        return plain(x)
    result: torch.Tensor = RmsNorm.apply(x, norm.weight, norm.variance_epsilon)
    return result


class RmsNorm(torch.autograd.Function):
    """`w · x / sqrt(mean(x²) + ε)` over the last dimension, with the gradient for x; computed in float32."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
        x, weight, epsilon = arguments
        rows = x.reshape(-1, x.shape[-1])
        result = torch.empty_like(rows)
        inverse = torch.empty(len(rows), 1)
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            block = rows[part].to(torch.float32, copy=True)
            inverse[part] = block.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
            result[part] = block.mul_(inverse[part]).to(x.dtype) * weight
        ctx.save_for_backward(rows, inverse, weight)
        return result.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        rows, inverse, weight = ctx.saved_tensors
        out = gradients[0].reshape(rows.shape)
        result = torch.empty_like(rows)
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            scaled = (out[part] * weight).float()
            normed = rows[part].float() * inverse[part]
            along = (scaled * normed).mean(-1, keepdim=True)
            result[part] = scaled.addcmul_(normed, along, value=-1).mul_(inverse[part])
        return result.view(gradients[0].shape), None, None
