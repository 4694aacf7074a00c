"""Ways to compute the same in less time or memory, given to a model before it is trained.

Each is written and tested elsewhere; which of them a run takes is configured. Does not estimate what they save.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from cdsframe.errors import ConfigError
from cdsframe.lora import base_of
from cdsframe.training.attention import NAME, attend, pack
from cdsframe.training.fused import fuse
from cdsframe.training.proof import prove

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What a model is given.

    Args:
        fused: LoRA's layers as one function each (`cdsframe.training.fused`).
        packing: examples one behind the other in a row (`cdsframe.training.attention`).
        checkpointing: activations are computed again in the backward pass instead of kept (Chen et al., arXiv
            1604.06174): about a third more arithmetic, a fraction of the memory.
        compiled: each decoder layer by torch.compile.
    """

    fused: bool
    packing: bool
    checkpointing: bool
    compiled: bool

    def give(self, model: Any) -> bool:
        """Prepares the model, in place; whether its examples are to be packed."""
        if self.fused:
            fuse(model)
            prove(model)
        packed = self.packing and pack(model)
        if self.checkpointing:
            checkpoint_activations(model)
        if self.compiled:
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

    AttentionInterface.register(NAME, torch.compiler.disable(attend))
    causal = base_of(model)
    decoder = causal.get_decoder()
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)  # GPT-2's and Bloom's name
    if layers is None:
        raise ConfigError(
            f"training.compile: {type(causal).__name__} has no list of layers; use training.compile=false"
        )
    for layer in layers:
        for module in layer.modules():
            if "forward" in vars(module):
                module.forward = torch.compiler.disable(module.forward)
        layer.compile(dynamic=True)
