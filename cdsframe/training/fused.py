"""Computes each LoRA layer as one autograd function: base, low-rank update and their gradients.

The layers keep PEFT's classes, so the saved files do not change. A layer that is more than plain LoRA (DoRA, several
adapters, a bias in the update), or whose base layer has an unknown class, keeps PEFT's computation. Does not compare
the two computations (see `cdsframe.training.proof`). Compare Han et al., "Unsloth" (github.com/unslothai/unsloth).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

log = logging.getLogger(__name__)


def fuse(model: Any) -> int:
    """Sets the fused computation for each plain LoRA layer of a PEFT model. Returns the number of fused layers.

    Fuses a layer only if the exact classes of the layer and its base are known: GPT-2's `Conv1D` holds its weight
    transposed, and a subclass may compute anything.
    """
    from peft.tuners.lora import LoraLayer

    known = _known()
    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    chosen = [layer for layer in layers if known.get(type(layer)) is type(layer.get_base_layer()) and _plain(layer)]
    for layer in chosen:
        layer.forward = partial(_forward, layer, layer.forward)
    if layers:
        log.info("LoRA: %d of %d layers are fused", len(chosen), len(layers))
    return len(chosen)


def _known() -> dict[type, type]:
    """Returns the class of PEFT layers that can be fused -> the class of their base layer."""
    from peft.tuners.lora import Linear

    known: dict[type, type] = {Linear: torch.nn.Linear}
    try:
        from bitsandbytes.nn import Linear4bit as Base
        from peft.tuners.lora.bnb import Linear4bit

        known[Linear4bit] = Base
    except ImportError:  # bitsandbytes is not installed
        pass
    return known


def _plain(layer: Any) -> bool:
    """Whether the layer has no variant (DoRA), no hook, no replaced `forward`, and PyTorch's dropout."""
    base = layer.get_base_layer()
    changed = [name for part in (layer, base) for name in ("forward", "_hf_hook") if name in vars(part)]
    hooks = base._forward_hooks or base._forward_pre_hooks
    dropouts = all(type(dropout) in (torch.nn.Dropout, torch.nn.Identity) for dropout in layer.lora_dropout.values())
    return not (layer.lora_variant or changed or hooks) and dropouts


def _forward(
    layer: Any, plain: Callable[..., torch.Tensor], x: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    """Computes the layer fused if one adapter is active and nothing else changes the result; else calls `plain`."""
    adapters = [name for name in layer.active_adapters if name in layer.lora_A]
    if args or kwargs or layer.disable_adapters or layer.merged or len(adapters) != 1:
        return plain(x, *args, **kwargs)
    down, up = layer.lora_A[adapters[0]], layer.lora_B[adapters[0]]
    base, device = layer.get_base_layer(), x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    if up.bias is not None or (dtype != down.weight.dtype and not torch.is_autocast_enabled(device)):
        return plain(x)  # the update has a bias, or PEFT computes it in another dtype
    scale, keep = float(layer.scaling[adapters[0]]), None
    dropout = getattr(layer.lora_dropout[adapters[0]], "p", 0.0) if layer.training else 0.0
    if dropout > 0:
        keep, share = kept(x.numel(), dropout, x.device)
        scale /= share
    result: torch.Tensor = LoraLinear.apply(x, base.weight, base.bias, down.weight, up.weight, scale, keep, dtype)
    return result


def kept(count: int, dropout: float, device: torch.device) -> tuple[torch.Tensor, float]:
    """Draws a dropout mask. Returns a bool tensor `[count]`, True for kept inputs, and the probability of being kept.

    Uses 16 random bits per input, a ninth of the time of `bernoulli_` on a CPU; rounds `dropout` to 1 / 65,536.
    """
    limit = round(dropout * 65536)
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=device).random_(-(2**63), None)
    return bits.view(torch.int16)[:count] >= limit - 32768, 1 - limit / 65536


class LoraLinear(torch.autograd.Function):
    """`x W' + b + scale (x * keep) A' B'`, with gradients for x, A and B.

    Shapes: x `[…, in]`, W `[out, in]` (or its 4-bit form of bitsandbytes), A `[r, in]`, B `[out, r]`, keep
    `[x.numel()]` or None; all are computed in `dtype`, as autocast does.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
        x, weight, bias, a, b, scale, keep, dtype = arguments
        device = x.device.type
        with torch.autocast(device, enabled=False):
            rows = x.reshape(-1, x.shape[-1]).to(dtype)
            keep = None if keep is None else keep.view_as(rows)
            seen = rows if keep is None else rows * keep.to(dtype)  # a product with bool is seven times slower
            a, b = a.to(dtype), b.to(dtype)
            result = functional.linear(rows, _expanded(weight, dtype), None if bias is None else bias.to(dtype))
            low = seen @ a.T
            result.addmm_(low, b.T, alpha=scale)
        ctx.save_for_backward(rows, low, a, b, keep)
        ctx.weight, ctx.scale, ctx.shape, ctx.dtypes = weight, scale, x.shape, (x.dtype, arguments[3].dtype)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        rows, low, a, b, keep = ctx.saved_tensors
        x_dtype, weight_dtype = ctx.dtypes
        with torch.autocast(rows.device.type, enabled=False):
            out = gradients[0].reshape(-1, gradients[0].shape[-1]).to(rows.dtype)
            behind = (out @ b).mul_(ctx.scale)
            b_gradient = (out.T @ low).mul_(ctx.scale)
            keep = None if keep is None else keep.to(rows.dtype)
            a_gradient = behind.T @ (rows if keep is None else rows * keep)
            x_gradient = None
            if ctx.needs_input_grad[0]:
                x_gradient = out @ _expanded(ctx.weight, rows.dtype)
                if keep is None:
                    x_gradient.addmm_(behind, a)
                else:
                    x_gradient += (behind @ a).mul_(keep)
                x_gradient = x_gradient.view(ctx.shape).to(x_dtype)
        return x_gradient, None, None, a_gradient.to(weight_dtype), b_gradient.to(weight_dtype), None, None, None


def _expanded(weight: Any, dtype: torch.dtype) -> torch.Tensor:
    """Returns the weight in `dtype`; a 4-bit weight is dequantized in each pass."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        whole: torch.Tensor = weight.detach().to(dtype)
        return whole
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, state).to(dtype)
