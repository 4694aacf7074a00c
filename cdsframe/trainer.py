"""The devices that train, by Lightning Fabric: one, or one process a device whose gradients are summed.

Does not know what is trained.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal

from pydantic import Field

from cdsframe.errors import ConfigError

_SHARDING = ("fsdp", "deepspeed", "model_parallel", "tensor_parallel")
_PROCESSES_ON_CPU = 2


class LightningTrainer:
    """Starts the processes that train.

    Args:
        accelerator: Lightning's own names; `auto` takes CUDA where there is some.
        strategy: `single`: one device; `ddp`: one process a device, each with a whole copy of the model.
        devices: how many a machine; None: every GPU, or two processes where there is none.
        num_nodes: how many machines.
        max_steps: optimiser steps after which training stops; None: no limit.
        progress: whether a progress bar is shown.
    """

    def __init__(
        self,
        accelerator: Literal["auto", "cpu", "gpu"],
        strategy: str,
        devices: Annotated[int, Field(ge=1)] | None,
        num_nodes: Annotated[int, Field(ge=1)],
        max_steps: Annotated[int, Field(ge=1)] | None,
        progress: bool,
    ) -> None:
        self._accelerator, self._strategy, self._devices = accelerator, strategy, devices
        self._num_nodes, self._max_steps, self.progress = num_nodes, max_steps, progress
        self.first = True
        """Whether this is the process that writes and tells, of those that `launch` started."""

    @staticmethod
    def problems(strategy: str, devices: int | None, num_nodes: int) -> list[str]:
        """What cannot be, in words."""
        if strategy == "single":
            many = (devices or 1) > 1 or num_nodes > 1
            return ["trainer.strategy=single is one device; use trainer=ddp for several"] if many else []
        if strategy.startswith(_SHARDING):
            return [
                f"trainer.strategy={strategy}: sharded training is refused: today's libraries cut packed 4-bit weights "
                "apart from their scales and train on wrong ones without an error; what is trained here is small, use "
                "trainer=ddp, with a whole copy of the base model on each device"
            ]
        return [] if strategy == "ddp" else [f"trainer.strategy must be single or ddp, got {strategy!r}"]

    def steps(self, planned: int) -> int:
        """How many of the planned optimiser steps will be taken: what the learning rate decays over."""
        return min(planned, self._max_steps or planned)

    def launch(self, precision: Literal["bf16-mixed", "32-true"]) -> Devices:
        """This process among those that train. With several devices Lightning starts the script again for each."""
        import torch
        from lightning.fabric import Fabric

        for name in ("lightning.fabric", "lightning.fabric.utilities.rank_zero", "lightning.pytorch"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if self._accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigError("trainer.accelerator=gpu: there is no CUDA device; use trainer=auto or trainer=cpu")
        several = self._strategy == "ddp"
        there = 0 if self._accelerator == "cpu" else torch.cuda.device_count()
        fabric = Fabric(
            accelerator=self._accelerator,
            devices=(self._devices or there or _PROCESSES_ON_CPU) if several else 1,
            num_nodes=self._num_nodes,
            strategy="ddp" if several else "auto",
            precision=precision,
        )
        fabric.launch()
        self.first = fabric.global_rank == 0
        if not self.first:
            logging.getLogger("cdsframe").setLevel(logging.WARNING)
        return Devices(fabric)


class Devices:
    """This process's device, and what it says to the others and hears from them. All must call alike."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.device, self.rank, self.world_size = fabric.device, fabric.global_rank, fabric.world_size
        self.first = self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of a forward pass."""
        context: AbstractContextManager[Any] = self._fabric.autocast()
        return context

    def sum(self, tensor: Any) -> Any:
        """The tensor, in place summed over all processes."""
        if self.world_size > 1:
            import torch

            torch.distributed.all_reduce(tensor)
        return tensor

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process has it."""
        if self.world_size == 1:
            return list(flags)
        import torch

        return [value > 0 for value in self.sum(torch.tensor(flags, dtype=torch.float32, device=self.device)).tolist()]

    def gather(self, value: Any) -> list[Any]:
        """What each process has, by rank."""
        values = [value]
        if self.world_size > 1:
            import torch

            values = [None] * self.world_size
            torch.distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Broadcasts the value of rank 0 to all processes."""
        values = [value]
        if self.world_size > 1:
            import torch

            torch.distributed.broadcast_object_list(values, src=0)
        return values[0]
