"""Prepares a model so that its training takes less time or memory, with the same result. Does not estimate savings."""

from __future__ import annotations

import logging
from typing import Any

from cdsframe.errors import ConfigError
from cdsframe.lora import base_of
from cdsframe.training.settings import Checkpointing

log = logging.getLogger(__name__)


class Acceleration:
    """Ways to compute the same in less time or memory.

    Args:
        fused: whether each LoRA layer is computed as one function (`cdsframe.training.fused`).
        packing: whether examples lie one behind the other in a row (`cdsframe.training.attention`).
        gradient_checkpointing: whether activations are computed again in the backward pass instead of kept (Chen et
            al., arXiv 1604.06174): a third more arithmetic, far less memory. `auto`: if training does not fit
            otherwise.
        compile: whether each decoder layer is compiled by torch.compile.
    """

    def __init__(self, fused: bool, packing: bool, gradient_checkpointing: Checkpointing, compile: bool) -> None:
        self.fused, self.packing, self.gradient_checkpointing = fused, packing, gradient_checkpointing
        self._compile = compile

    def apply(self, model: Any, checkpointing: bool) -> bool:
        """Prepares the model in place. Returns whether its examples can be packed."""
        from cdsframe.training.attention import pack
        from cdsframe.training.fused import fuse
        from cdsframe.training.proof import prove

        if self.fused:
            fuse(model)
            prove(model)
        packed = self.packing and pack(model)
        if checkpointing:
            checkpoint_activations(model)
        if self._compile:
            compile_layers(model)
        return packed


def checkpoint_activations(model: Any) -> None:
    """Has each decoder layer keep its input alone."""
    causal = base_of(model)
    causal.activation_checkpointing_enable()
    log.info("gradient checkpointing is on")


def compile_layers(model: Any) -> None:
    """Compiles each decoder layer at its first step, for any length; attention and fused LoRA are left out of it."""
    import torch
    from transformers import AttentionInterface

    from cdsframe.training.attention import NAME, attend

    AttentionInterface.register(NAME, torch.compiler.disable(attend))
    causal = base_of(model)
    decoder = causal.get_decoder()
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)  # GPT-2's and Bloom's name
    if layers is None:
        raise ConfigError(
            f"training.acceleration.compile: {type(causal).__name__} has no list of layers; use "
            "training.acceleration.compile=false"
        )
    for layer in layers:
        for module in layer.modules():
            if "forward" in vars(module):
                module.forward = torch.compiler.disable(module.forward)
        layer.compile(dynamic=True)
