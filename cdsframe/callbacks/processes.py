"""Exchanges values between training processes. All processes must make the same calls, in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning.pytorch as pl


def gathered(value: Any) -> list[Any]:
    """Returns the values of all processes, in the order of their ranks."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def anywhere(trainer: pl.Trainer, flag: bool) -> bool:
    """Returns whether the flag is True in any process."""
    return trainer.strategy.reduce_boolean_decision(flag, all=False)
