"""Selects the values that an experiment tracker may see: option names, numbers and booleans. Selects no other
strings."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

_LOGGED = ("model", "quantization", "lora", "data", "prompt", "retriever", "chunking", "training", "trainer")
"""Groups whose numbers and booleans are logged."""


def hyperparameters(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    """The chosen options, the seed, and the numbers and booleans of `_LOGGED`, as one flat mapping."""
    logged: dict[str, Any] = dict(choices)
    logged["seed"] = cfg.get("seed")
    for group in _LOGGED:
        node = cfg.get(group)
        if isinstance(node, DictConfig):
            settings: Any = OmegaConf.to_container(node, resolve=True)
            logged |= {f"{group}.{k}": v for k, v in settings.items() if isinstance(v, bool | int | float)}
    return logged
