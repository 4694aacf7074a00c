"""Sets up the optimisation of weights: AdamW, a learning-rate schedule, and gradient clipping. Does not train.

AdamW: Loshchilov and Hutter (arXiv 1711.05101). Paged: the moments move to the CPU if the device's memory is short
(QLoRA, arXiv 2305.14314). 8-bit moments: Dettmers et al. (arXiv 2110.02861). LoRA+: Hayou et al. (arXiv 2402.12354).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

OptimizerName = Literal["auto", "adamw", "paged_adamw", "adamw_8bit", "paged_adamw_8bit"]

Schedule = Literal[
    "cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt", "cosine_with_restarts"
]
"""Names of transformers' `get_scheduler`."""

MOMENT_BYTES = {"adamw": 8, "paged_adamw": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2}
"""Bytes of both moments per weight."""


class Optimization:
    """Optimizer, learning-rate schedule and gradient clipping of a training.

    Args:
        learning_rate: the highest learning rate of the schedule.
        schedule: a schedule of transformers, over all steps of the run.
        warmup_share: fraction of all steps (0 to 1) with linear warm-up.
        weight_decay: AdamW's decoupled weight decay.
        clip_norm: maximum 2-norm of the gradient.
        optimizer: `auto`: `paged_adamw` on CUDA, `adamw` on other devices.
        loraplus_lr_ratio: learning rate of LoRA's B matrices divided by that of all other weights.
    """

    def __init__(
        self,
        learning_rate: Annotated[float, Field(gt=0)],
        schedule: Schedule,
        warmup_share: Annotated[float, Field(ge=0, le=1)],
        weight_decay: Annotated[float, Field(ge=0)],
        clip_norm: Annotated[float, Field(gt=0)],
        optimizer: OptimizerName,
        loraplus_lr_ratio: Annotated[float, Field(ge=1)],
    ) -> None:
        self._learning_rate, self._schedule, self._warmup_share = learning_rate, schedule, warmup_share
        self._weight_decay, self.clip_norm = weight_decay, clip_norm
        self._optimizer, self._loraplus_lr_ratio = optimizer, loraplus_lr_ratio

    def optimizer_name(self, cuda: bool) -> Literal["adamw", "paged_adamw", "adamw_8bit", "paged_adamw_8bit"]:
        """Returns the optimizer's name, with `auto` resolved for a CUDA device or another device."""
        if self._optimizer == "auto":
            return "paged_adamw" if cuda else "adamw"
        return self._optimizer

    def optimizer(self, weights: Mapping[str, Any], cuda: bool) -> Any:
        """Makes the torch optimizer for the weights (name -> weight)."""
        import torch

        groups: dict[float, list[Any]] = {}
        for name, weight in weights.items():
            groups.setdefault(self._loraplus_lr_ratio if "lora_B" in name else 1.0, []).append(weight)
        parameters = [
            {"params": members, "lr": self._learning_rate * ratio} for ratio, members in sorted(groups.items())
        ]
        make: Any = torch.optim.AdamW
        if (name := self.optimizer_name(cuda)) != "adamw":
            import bitsandbytes

            make = {
                "paged_adamw": bitsandbytes.optim.PagedAdamW32bit,
                "adamw_8bit": bitsandbytes.optim.AdamW8bit,
                "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
            }[name]
        return make(parameters, lr=self._learning_rate, weight_decay=self._weight_decay)

    def scheduler(self, optimizer: Any, total_steps: int) -> Any:
        """Makes the scheduler that sets each group's learning rate before step 0 and after each step.

        transformers' schedules begin, and most of them end, at 0. They are computed for one more step, and the values
        at both ends are not used: no step has a learning rate of 0.
        """
        import torch
        from torch.optim.lr_scheduler import LambdaLR
        from transformers import get_scheduler

        warmup = max(1, round(self._warmup_share * total_steps))
        single = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        factor = get_scheduler(self._schedule, single, warmup, total_steps + 1).lr_lambdas[0]
        return LambdaLR(optimizer, lambda step: factor(step + 1))
