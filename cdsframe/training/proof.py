"""Compares fused LoRA layers with PEFT's own computation, once per model, and restores PEFT's where they differ.

One layer of each kind (classes, shapes, precision, bias) is computed both ways on the same random input, in train mode:
in eval mode bitsandbytes may repack 4-bit weights. Outputs and gradients are compared. Changes no weight and no random
state.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cdsframe.lora import base_of

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.02, torch.float16: 0.005}
"""dtype -> maximum norm of the difference, divided by the norm of PEFT's result. bfloat16 rounds products by 0.4 %."""
_ROWS = 8


def prove(model: Any) -> int:
    """Restores and logs PEFT's computation for each kind of layer that differs. Returns how many layers stay fused."""
    kinds: dict[Hashable, list[Any]] = {}
    fused = [layer for layer in model.modules() if "forward" in vars(layer) and hasattr(layer, "lora_A")]
    for layer in fused:
        kinds.setdefault(_kind(layer), []).append(layer)
    dtype = base_of(model).dtype
    allowed = TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])
    kept = 0
    for layers in kinds.values():
        worst = _difference(layers[0], dtype)
        if worst <= allowed:
            kept += len(layers)
            continue
        for layer in layers:
            del layer.forward
        log.warning(
            "LoRA: %d layers of %s differ when fused (by %.2g of the norm, %.2g is allowed) and are computed by PEFT",
            len(layers), type(layers[0].get_base_layer()).__name__, worst, allowed,
        )  # fmt: skip
    if fused:
        log.info("LoRA: fused and PEFT's computation agree to %.2g in %d of %d layers", allowed, kept, len(fused))
    return kept


def _kind(layer: Any) -> Hashable:
    base = layer.get_base_layer()
    state = getattr(base.weight, "quant_state", None)
    quantized = None if state is None else (state.quant_type, state.blocksize, state.nested, state.dtype)
    adapters = tuple((name, down.weight.dtype, tuple(down.weight.shape)) for name, down in layer.lora_A.items())
    size = (layer.in_features, layer.out_features, base.bias is not None)
    return type(layer), type(base), base.weight.dtype, quantized, size, adapters, tuple(layer.scaling.items())


def _difference(layer: Any, dtype: torch.dtype) -> float:
    """The largest relative difference of the output and the gradients; infinite if the fused one fails."""
    fused = layer.forward
    with _ready(layer), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        device = layer.lora_A[layer.active_adapters[0]].weight.device
        x = torch.randn(_ROWS, layer.in_features).to(device, dtype)
        out = torch.randn(_ROWS, layer.out_features).to(device, dtype)
        del layer.forward
        try:
            _balance(layer, x, dtype)
            plain = _results(layer, x, out, dtype)
        finally:
            layer.forward = fused
        try:
            found = _results(layer, x, out, dtype)
        except (RuntimeError, TypeError, ValueError, AttributeError):
            return float("inf")
    if any(not torch.isfinite(wanted).all() for wanted in plain):
        return 0.0  # the layer's weights are not finite: training stops at its loss
    parts = [
        float((a.float() - b.float()).norm() / b.float().norm().clamp(min=1e-30))
        for a, b in zip(found, plain, strict=True)
    ]
    return max(part if part == part else float("inf") for part in parts)


def _results(layer: Any, x: torch.Tensor, out: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """Returns the layer's output, and the gradients of its input and its low-rank weights."""
    x = x.clone().requires_grad_(True)
    weights = [weight for weight in layer.parameters() if weight.requires_grad]
    with torch.enable_grad(), torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        result = layer(x)
    return [result.detach(), *torch.autograd.grad(result, [x, *weights], out.to(result.dtype))]


def _balance(layer: Any, x: torch.Tensor, dtype: torch.dtype) -> None:
    """Scales B so that the update is as large as the base's output: an error in either is visible."""
    with torch.no_grad(), torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        base = layer.get_base_layer()(x).float()
        update = layer(x).float() - base
        for up in layer.lora_B.values():
            up.weight.mul_(base.norm() / update.norm().clamp(min=1e-30))


@contextmanager
def _ready(layer: Any) -> Iterator[None]:
    """Sets train mode, no dropout (both computations draw it differently) and a random B; restores all at the end."""
    training = layer.training
    dropouts = [(module, module.p) for module in layer.lora_dropout.values() if isinstance(module, torch.nn.Dropout)]
    before = {name: up.weight.detach().clone() for name, up in layer.lora_B.items()}
    layer.train()
    for module, _ in dropouts:
        module.p = 0.0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for up in layer.lora_B.values():
            up.weight.copy_(torch.randn(up.weight.shape))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, up in layer.lora_B.items():
                up.weight.copy_(before[name])
        for module, p in dropouts:
            module.p = p
        layer.train(training)
