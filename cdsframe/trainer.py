"""Makes the Lightning Trainer that runs a training: on one device, or by one process per device (DDP).

Does not know what is trained.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cdsframe.errors import ConfigError, near_miss

if TYPE_CHECKING:
    import lightning.pytorch as pl

_SHARDING = ("fsdp", "deepspeed", "model_parallel", "tensor_parallel")
_PROCESSES_ON_CPU = 2

INSTEAD = {
    "gradient_clip_val": "optimization.clip_norm",
    "accumulate_grad_batches": "training.batch_size and training.micro_batch_size",
    "precision": "model.compute_dtype",
    "max_epochs": "training.max_epochs",
    "val_check_interval": "training.validations",
    "callbacks": "the group callbacks",
    "logger": "the group logger",
    "plugins": "",
    "default_root_dir": "paths.outputs",
    "enable_checkpointing": "callbacks.checkpoint=null",
    "enable_progress_bar": "callbacks.progress=null",
    "num_sanity_val_steps": "",
}
"""Trainer's arguments that cdsframe decides -> the key to use; "": no key replaces it."""


class LightningTrainer:
    """Trainer's arguments; names and meanings are Lightning's.

    Args:
        accelerator: `auto`: CUDA if available, else the CPU.
        strategy: `single`: one device; `ddp`: one process per device, each with a whole copy of the model.
        devices: number of devices per machine with `ddp`; None: all GPUs, or two processes on a CPU.
        num_nodes: number of machines.
        max_steps: optimiser steps after which training stops; None: no limit.
        max_time: time after which training stops, `DD:HH:MM:SS`; None: no limit.
        limit_train_batches: number (int) or fraction (float) of the batches that are used per epoch; None: all.
        limit_val_batches: number (int) or fraction (float) of the batches per validation; None: all.
        overfit_batches: trains on this number (int) or fraction (float) of the batches only, in one order; 0: off.
        fast_dev_run: runs this many training and validation batches, without writing anything; 0: off.
        profiler: `simple`, `advanced` or `pytorch`: reports where the time goes; None: off.
        options: further arguments of `lightning.pytorch.Trainer`.
    """

    def __init__(
        self,
        accelerator: Literal["auto", "cpu", "gpu"],
        strategy: str,
        devices: Annotated[int, Field(ge=1)] | None,
        num_nodes: Annotated[int, Field(ge=1)],
        max_steps: Annotated[int, Field(ge=1)] | None,
        max_time: Annotated[str, Field(pattern=r"^\d\d:\d\d:\d\d:\d\d$")] | None,
        limit_train_batches: Annotated[int | float, Field(gt=0)] | None,
        limit_val_batches: Annotated[int | float, Field(gt=0)] | None,
        overfit_batches: Annotated[int | float, Field(ge=0)],
        fast_dev_run: Annotated[int, Field(ge=0)],
        profiler: Literal["simple", "advanced", "pytorch"] | None,
        options: dict[str, Any],
    ) -> None:
        self._accelerator, self._strategy, self._devices, self._num_nodes = accelerator, strategy, devices, num_nodes
        self.max_steps, self._max_time = max_steps, max_time
        self._limits = {"limit_train_batches": limit_train_batches, "limit_val_batches": limit_val_batches}
        self.overfit_batches, self.fast_dev_run = overfit_batches, fast_dev_run
        self._profiler, self._options = profiler, dict(options)
        self.first = True
        """Whether this process has rank 0. Only rank 0 writes files; the other processes log only warnings."""

    @staticmethod
    def several_processes(strategy: str) -> bool:
        """Whether the trainer starts the command again for each further device."""
        return strategy == "ddp"

    @staticmethod
    def problems(strategy: str, devices: int | None, num_nodes: int, options: Mapping[str, Any]) -> list[str]:
        """Returns the problems of the options: the strategy, several devices with `single`, unknown `options`."""
        return [*_strategy_problems(strategy, devices, num_nodes), *_option_problems(options)]

    def steps(self, batches: int, max_epochs: int) -> int:
        """Returns the number of optimiser steps of a training; `batches`: available batches per epoch."""
        planned = self.batches(batches) * max_epochs
        return min([planned, *(limit for limit in (self.max_steps, self.fast_dev_run) if limit)])

    def batches(self, available: int) -> int:
        """Returns the number of batches that are used per epoch, of `available` batches."""
        limit = self.fast_dev_run or self.overfit_batches or self._limits["limit_train_batches"]
        if not limit:
            return available
        return min(available, limit) if isinstance(limit, int) else max(1, int(available * limit))

    def make(
        self,
        precision: Literal["bf16-mixed", "32-true"],
        max_epochs: int,
        folder: str,
        callbacks: Sequence[pl.Callback],
        checkpoint_io: Any,
    ) -> pl.Trainer:
        """Builds the Trainer; with `ddp`, `fit` starts this script again for each further device.

        Raises ConfigError if `accelerator=gpu` finds no GPU.
        """
        import lightning.pytorch as pl
        import torch
        from lightning.pytorch.callbacks import Checkpoint, ProgressBar

        for name in ("lightning.fabric", "lightning.pytorch"):
            logging.getLogger(name).setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`")  # Lightning with torch 2.13
        if self._accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigError("trainer.accelerator=gpu: there is no CUDA device; use trainer=auto or trainer=cpu")
        several = self._strategy == "ddp"
        gpus = 0 if self._accelerator == "cpu" else torch.cuda.device_count()
        limits: dict[str, Any] = {name: value for name, value in self._limits.items() if value is not None}
        trainer = pl.Trainer(
            accelerator="gpu" if gpus else "cpu",
            devices=(self._devices or gpus or _PROCESSES_ON_CPU) if several else 1,
            num_nodes=self._num_nodes,
            strategy=_summing_strategy() if several else "auto",
            precision=precision,
            max_epochs=max_epochs,
            max_steps=self.max_steps or -1,
            max_time=self._max_time,
            overfit_batches=self.overfit_batches,
            fast_dev_run=self.fast_dev_run or False,
            profiler=self._profiler,
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            default_root_dir=folder,
            callbacks=list(callbacks),
            logger=False,
            plugins=[checkpoint_io],
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            **limits,
            **self._options,
        )
        self.first = trainer.is_global_zero
        if not self.first:
            logging.getLogger("cdsframe").setLevel(logging.WARNING)
        return trainer


def _strategy_problems(strategy: str, devices: int | None, num_nodes: int) -> list[str]:
    if strategy == "single":
        many = (devices or 1) > 1 or num_nodes > 1
        return ["trainer.strategy=single uses one device; use trainer=ddp for several"] if many else []
    if strategy.startswith(_SHARDING):
        return [
            f"trainer.strategy={strategy}: sharded training is not supported: current libraries separate packed 4-bit "
            "weights from their scales, and train on wrong weights without an error; use trainer=ddp, which keeps "
            "a whole copy of the base model on each device"
        ]
    return [] if strategy == "ddp" else [f"trainer.strategy must be single or ddp, got {strategy!r}"]


def _option_problems(options: Mapping[str, Any]) -> list[str]:
    """Compares `trainer.options` with the signature of Lightning's Trainer, which it imports only if there are any."""
    if not options:
        return []
    import lightning.pytorch as pl

    own = set(signature(LightningTrainer.__init__).parameters)
    known = [name for name in signature(pl.Trainer.__init__).parameters if name not in ("self", *INSTEAD)]
    problems = []
    for name in options:
        if name in INSTEAD:
            use = f"use {INSTEAD[name]}" if INSTEAD[name] else "remove it"
            problems.append(f"trainer.options.{name} is set by cdsframe; {use}")
        elif name in own:
            problems.append(f"trainer.options.{name} is not an option here; use trainer.{name}")
        elif name not in known:
            problems.append(f"trainer.options.{name} is no argument of Lightning's Trainer; {near_miss(name, known)}")
    return problems


def _summing_strategy() -> Any:
    """DDP without the wrapper that averages gradients: modules sum them over the processes once per effective batch.

    Each process has divided its loss by the labelled tokens of the whole effective batch. An average over processes
    would weigh a process's tokens by the number of its micro-batches.
    """
    from lightning.pytorch.strategies import DDPStrategy

    class SummedGradients(DDPStrategy):
        def configure_ddp(self) -> None:
            """Does not wrap the module. All processes begin with the same weights, made from the same seed."""

    return SummedGradients()
