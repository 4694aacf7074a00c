"""Chooses the trainable weights: low-rank updates of the linear layers (by PEFT), or all weights.

LoRA: Hu et al. (arXiv 2106.09685). Does not choose learning rates and does not save.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.adapter import quiet_peft
from cdsframe.errors import ConfigError

log = logging.getLogger(__name__)


class Lora:
    """Trains `B A` of rank `r` beside each target layer, scaled by `lora_alpha / r`.

    Args:
        r: the rank.
        scale: `lora_alpha / r`, kept constant when `r` is swept.
        lora_dropout: dropout rate of the low-rank path's inputs, in [0, 1).
        target_modules: names of the linear layers.
    """

    trains_embeddings = trains_base = False

    def __init__(
        self,
        r: Annotated[int, Field(ge=1)],
        scale: Annotated[float, Field(gt=0)],
        lora_dropout: Annotated[float, Field(ge=0, lt=1)],
        target_modules: Annotated[list[str], Field(min_length=1)],
    ) -> None:
        self.r, self._scale, self._dropout, self._targets = r, scale, lora_dropout, list(target_modules)

    def attach(self, module: Any) -> Any:
        """Returns a PEFT model in which only the low-rank weights are trainable, in float32.

        Raises ConfigError if a target names no linear layer. PEFT ignores such a target if another target matches.
        """
        from peft import LoraConfig, get_peft_model

        if unknown := list(_unknown(self._targets, module)):
            raise ConfigError(unknown)
        settings: dict[str, Any] = {
            "r": self.r,
            "lora_alpha": self._scale * self.r,  # PEFT accepts a float
            "lora_dropout": self._dropout,
            "target_modules": self._targets,
            "bias": "none",
            "task_type": "CAUSAL_LM",
        }
        config = LoraConfig(**settings | self._further(module))
        with quiet_peft():
            return get_peft_model(module, config)

    def _further(self, module: Any) -> dict[str, Any]:
        """Returns PEFT's arguments beyond those of plain LoRA."""
        return {}


class Dora(Lora):
    """DoRA: trains the magnitudes of the weights' columns separately; LoRA updates their directions.

    Liu et al. (arXiv 2402.09353).
    """

    def _further(self, module: Any) -> dict[str, Any]:
        return {"use_dora": True}


class RankStabilisedLora(Lora):
    """rsLoRA: scales the update by `lora_alpha / sqrt(r)`, so that it does not shrink at high ranks.

    Kalajdzievski (arXiv 2312.03732).
    """

    def __init__(
        self,
        r: Annotated[int, Field(ge=1)],
        lora_alpha: Annotated[float, Field(gt=0)],
        lora_dropout: Annotated[float, Field(ge=0, lt=1)],
        target_modules: Annotated[list[str], Field(min_length=1)],
    ) -> None:
        super().__init__(r, lora_alpha / r, lora_dropout, target_modules)

    def _further(self, module: Any) -> dict[str, Any]:
        return {"use_rslora": True}


class LoraWithEmbeddings(Lora):
    """LoRA that also trains all rows of the input and output embeddings, which share weights if the model ties them."""

    trains_embeddings = True

    def _further(self, module: Any) -> dict[str, Any]:
        embeddings, head = module.get_input_embeddings(), module.get_output_embeddings()
        names = {name.rpartition(".")[2] for name, child in module.named_modules() if child in (embeddings, head)}
        return {"modules_to_save": sorted(names), "ensure_weight_tying": bool(module.config.tie_word_embeddings)}


class NoLora:
    """Trains all weights (needs `quantization=none`)."""

    trains_embeddings = trains_base = True

    def attach(self, module: Any) -> Any:
        """Returns the module with all weights trainable and in float32."""
        return module.float().requires_grad_(True)


def _unknown(targets: Sequence[str], module: Any) -> Iterator[str]:
    """Yields an error for each target that matches no linear layer. As in PEFT, a target matches the end of a name."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    linear = [name for name, child in module.named_modules() if isinstance(child, (Linear, Conv1D))]
    available = list(dict.fromkeys(name.rpartition(".")[2] for name in linear))
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            near = get_close_matches(target, available, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"lora.target_modules: the model has no linear layer {target!r}, it has {', '.join(available)}{hint}"


def base_of(module: Any) -> Any:
    """Returns the causal model inside a PEFT model, with its low-rank layers; any other module unchanged."""
    return module.get_base_model() if hasattr(module, "get_base_model") else module


def count_trainable(module: Any) -> tuple[int, int]:
    """Returns the numbers of trainable and of all weights (a 4-bit weight counts as one), and logs them."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    total = sum(
        p.quant_state.shape.numel() if getattr(p, "quant_state", None) is not None else p.numel()
        for p in module.parameters()
    )
    log.info("trainable weights: %s of %s (%.2f %%)", f"{trainable:,}", f"{total:,}", 100 * trainable / total)
    return trainable, total
