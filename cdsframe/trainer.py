"""Starts the training processes by Lightning Fabric: one process, or one per device, whose gradients are summed.

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
    """Starts the training processes.

    Args:
        accelerator: Lightning's names; `auto`: CUDA if available, else the CPU.
        strategy: `single`: one device; `ddp`: one process per device, each with a whole copy of the model.
        devices: number of devices per machine with `ddp`; None: all GPUs, or two processes on a CPU.
        num_nodes: number of machines.
        max_steps: optimiser steps after which training stops; None: no limit.
        progress: whether to show a progress bar.
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
        """Whether this process has rank 0. Only rank 0 writes files; the other processes log only warnings."""

    @staticmethod
    def problems(strategy: str, devices: int | None, num_nodes: int) -> list[str]:
        """Returns the problems of the options: an unsupported strategy, or several devices with `single`."""
        if strategy == "single":
            many = (devices or 1) > 1 or num_nodes > 1
            return ["trainer.strategy=single is one device; use trainer=ddp for several"] if many else []
        if strategy.startswith(_SHARDING):
            return [
                f"trainer.strategy={strategy}: sharded training is refused: current libraries separate packed 4-bit "
                "weights from their scales, and train on wrong weights without an error; use trainer=ddp, which keeps "
                "a whole copy of the base model on each device"
            ]
        return [] if strategy == "ddp" else [f"trainer.strategy must be single or ddp, got {strategy!r}"]

    def steps(self, planned: int) -> int:
        """Returns the number of optimiser steps, over which the learning rate decays: `planned`, or fewer."""
        return min(planned, self._max_steps or planned)

    def launch(self, precision: Literal["bf16-mixed", "32-true"]) -> Devices:
        """Starts the other training processes, if any, and returns this process's device.

        Lightning starts the script again for each further device. Raises ConfigError if `accelerator=gpu` finds no GPU.
        """
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
    """This process's device, and its communication with the other processes.

    All processes must make the same calls of `sum`, `any`, `gather` and `broadcast`, in the same order.
    """

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.device, self.rank, self.world_size = fabric.device, fabric.global_rank, fabric.world_size
        self.first = self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns a context in which a forward pass uses the precision given to `launch`."""
        context: AbstractContextManager[Any] = self._fabric.autocast()
        return context

    def sum(self, tensor: Any) -> Any:
        """Sums the tensor over all processes, in place, and returns it."""
        if self.world_size > 1:
            import torch

            torch.distributed.all_reduce(tensor)
        return tensor

    def any(self, *flags: bool) -> list[bool]:
        """Returns, for each flag, whether it is True in any process."""
        if self.world_size == 1:
            return list(flags)
        import torch

        return [value > 0 for value in self.sum(torch.tensor(flags, dtype=torch.float32, device=self.device)).tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Returns the values of all processes, in the order of their ranks."""
        values = [value]
        if self.world_size > 1:
            import torch

            values = [None] * self.world_size
            torch.distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Returns the value of rank 0, in every process."""
        values = [value]
        if self.world_size > 1:
            import torch

            torch.distributed.broadcast_object_list(values, src=0)
        return values[0]
