"""Runs a training by Lightning's Trainer: resumes from the last checkpoint if one exists, and keeps the best model.

Does not define data, model or loss.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal

import lightning.pytorch as pl

from cdsframe.callbacks.best_checkpoint import BestCheckpoint
from cdsframe.callbacks.checkpoint_files import Checkpoints, alone
from cdsframe.callbacks.checkpointing import CheckpointFiles, StopTraining
from cdsframe.callbacks.history import History
from cdsframe.callbacks.speed import Throughput
from cdsframe.callbacks.validation import ValidationSchedule
from cdsframe.contracts import System
from cdsframe.errors import ConfigError, Stopped
from cdsframe.training.batches import Batches
from cdsframe.training.data_module import TrainingData
from cdsframe.training.module import TrainingModule
from cdsframe.types import Metrics

log = logging.getLogger(__name__)


class Fitting:
    """A Trainer with the callbacks of a run.

    Args:
        system: provides the run, the trainer, the callbacks and the loggers.
        kind: `adapter`, `embedder` or `reranker`; the best model's folder in the run has this name.
        validations: validations per epoch.
    """

    def __init__(
        self, system: System, kind: str, max_epochs: int, validations: int, precision: Literal["bf16-mixed", "32-true"]
    ) -> None:
        self._component, self._run, self._max_epochs = system.trainer, system.run, max_epochs
        self._best, self._history = BestCheckpoint(system.run.folder / kind), History()
        self._checkpoints = Checkpoints(system.run.folder / "checkpoints", {})
        if wrong := [one for one in system.callbacks if not isinstance(one, pl.Callback)]:
            raise ConfigError(
                f"callbacks: {wrong[0]!r} is not a callback of Lightning; return a lightning.pytorch.Callback"
            )
        callbacks = [*system.callbacks, ValidationSchedule(validations), self._best, self._history]
        self._speed = next((one for one in callbacks if isinstance(one, Throughput)), None)
        self.trainer: Any = self._component.make(
            precision, max_epochs, str(system.run.folder), callbacks, CheckpointFiles(self._checkpoints)
        )
        if self.writes:
            self.trainer.loggers = [opened for one in system.logger if (opened := one.open()) is not None]

    @property
    def device(self) -> Any:
        """The device of this process."""
        return self.trainer.strategy.root_device

    @property
    def first(self) -> bool:
        """Whether this is the process of rank 0, which writes files."""
        return bool(self.trainer.is_global_zero)

    @property
    def writes(self) -> bool:
        """Whether this process publishes the result: rank 0 does, except in a rehearsal (`trainer.fast_dev_run`)."""
        return self.first and not self.trainer.fast_dev_run

    @property
    def place(self) -> dict[str, int]:
        """The rank of this process and the number of processes."""
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def steps(self, batches: Batches) -> int:
        """Returns the number of optimiser steps of the whole run."""
        return self._component.steps(len(batches), self._max_epochs)

    def report_utilisation(self, flops_per_token: float, peak_flops: float) -> None:
        """Makes the throughput callback, if it is configured, log the device's utilisation."""
        if self._speed is not None:
            self._speed.flops_per_token, self._speed.peak_flops = flops_per_token, peak_flops

    def validate(self, module: TrainingModule, validation: Batches) -> float:
        """Returns the module's validation loss. Does not train it."""
        self.trainer.validate(module, datamodule=self._data(validation, validation), verbose=False)
        return module.metrics["val/loss"]

    def run(
        self, module: TrainingModule, train: Batches, validation: Batches, identity: Mapping[str, str | None]
    ) -> Metrics:
        """Trains the module and writes the best model to the run's folder. Returns the best model's metrics.

        Args:
            identity: digests of the inputs that the configuration does not determine; a checkpoint with others is
                refused.

        Raises:
            Stopped: a signal was received; a checkpoint was written.
        """
        self._checkpoints.identity = dict(identity)
        with alone(self._run.folder) if self.first else nullcontext():
            found = self._checkpoints.latest()
            if found is not None:
                self._best.resume()
                log.info("resuming from the checkpoint %s; the training has %d steps", found.name, module.total_steps)
            try:
                self.trainer.fit(
                    module,
                    datamodule=self._data(train, validation),
                    ckpt_path=None if found is None else str(found),
                    weights_only=False,
                )
            except StopTraining as stop:
                if not self.first:
                    raise SystemExit(0) from None  # rank 0 prints the message and sets the exit code
                raise Stopped(
                    stop.signal,
                    f"the checkpoint of step {stop.step} is written; to resume, run the same command with "
                    f"resume={self._run.folder}",
                ) from None
        if not self.writes:
            losses = [row["val/loss"] for row in self._history.rows if "val/loss" in row]
            return {"val/loss": min(losses)}
        speed = {} if self._speed is None else {"train/tokens_per_second": self._speed.tokens_per_second}
        return {**self._best.metrics, **speed}

    def end(self) -> None:
        """Removes the checkpoints: the run is complete."""
        self._checkpoints.remove()

    def _data(self, train: Batches, validation: Batches) -> pl.LightningDataModule:
        used = self._component.batches(len(train))
        return TrainingData(train, validation, used, bool(self._component.overfit_batches))
