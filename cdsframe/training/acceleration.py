"""Prepares a model so that its training takes less time or memory, with the same loss. Does not estimate savings."""

from __future__ import annotations

import logging
from typing import Any

from cdsframe.errors import ConfigError
from cdsframe.lora import base_of
from cdsframe.training.settings import Checkpointing

log = logging.getLogger(__name__)


class Acceleration:
    """Options that reduce the time or memory of training without changing its loss.

    Args:
        fused: True: computes each LoRA layer (`cdsframe.training.fused`) and, on a CPU, each frozen RMSNorm
            (`cdsframe.training.norm`) as one autograd function.
        packing: True: concatenates examples in one row without padding, if the model's layers keep them apart
            (`cdsframe.training.attention`). False: pads them.
        gradient_checkpointing: `always`: recomputes activations in the backward pass instead of storing them (Chen et
            al., arXiv 1604.06174): a third more computation, far less memory. `never`: stores them. `auto`: recomputes
            them only if training would not fit into memory otherwise.
        compile: True: compiles each decoder layer by torch.compile.
    """

    def __init__(self, fused: bool, packing: bool, gradient_checkpointing: Checkpointing, compile: bool) -> None:
        self.fused, self.packing, self.gradient_checkpointing = fused, packing, gradient_checkpointing
        self._compile = compile

    def apply(self, model: Any, checkpointing: bool) -> bool:
        """Prepares the model in place. Returns whether its examples are packed.

        `checkpointing`: True: turns gradient checkpointing on.
        """
        from cdsframe.training.attention import pack
        from cdsframe.training.fused import fuse
        from cdsframe.training.norm import fuse_norms
        from cdsframe.training.proof import prove

        if self.fused:
            fuse(model)
            prove(model)
            if not self._compile:  # torch.compile fuses norms itself
                fuse_norms(model)
        packed = self.packing and pack(model)
        if checkpointing:
            checkpoint_activations(model)
        if self._compile:
            compile_layers(model)
        return packed


def checkpoint_activations(model: Any) -> None:
    """Turns on gradient checkpointing: each decoder layer stores only its input for the backward pass."""
    causal = base_of(model)
    causal.activation_checkpointing_enable()
    log.info("gradient checkpointing is on")


def compile_layers(model: Any) -> None:
    """Has torch.compile compile each decoder layer at its first step, for any sequence length.

    Packed attention and fused LoRA layers are not compiled. Raises ConfigError if the model has no list of layers.
    """
    import torch
    from transformers import AttentionInterface

    from cdsframe.training.attention import NAME, attend

    AttentionInterface.register(NAME, torch.compiler.disable(attend))
    causal = base_of(model)
    decoder = causal.get_decoder()
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)  # `h` in GPT-2 and Bloom
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
