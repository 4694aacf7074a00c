"""Writes the checkpoints from which an interrupted training resumes, and stops the training after a signal.

Lightning resumes exactly from two moments only: after a step that is neither followed by a validation nor the last of
its epoch (`on_train_batch_end`), and after a validation (`on_validation_end`). A checkpoint that falls due at another
moment is written at the next of these. From any other moment, Lightning 2.6 loses a validation or repeats batches.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import CheckpointIO

from cdsframe.callbacks.checkpoint_files import Checkpoints
from cdsframe.callbacks.processes import anywhere, gathered
from cdsframe.callbacks.random_states import random_states, restore_random_states
from cdsframe.callbacks.signals import Signals
from cdsframe.errors import CdsframeError, InputError
from cdsframe.types import JsonObject


class StopTraining(Exception):
    """Ends `Trainer.fit` after a signal. Not a KeyboardInterrupt: at that, Lightning would end the process."""

    def __init__(self, signal: int, step: int) -> None:
        super().__init__(signal, step)
        self.signal, self.step = signal, step


class CheckpointFiles(CheckpointIO):
    """Lets Lightning read and write `Checkpoints`. `save_checkpoint` stores a CdsframeError in `fault`."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self.fault: CdsframeError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            self._checkpoints.save(checkpoint["global_step"], checkpoint)
        except CdsframeError as error:  # `ResumeCheckpoint` raises it in all processes
            self.fault = error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> JsonObject:
        return self._checkpoints.read(Path(path))

    def path(self, step: int) -> Path:
        """The folder of the checkpoint after a step."""
        return self._checkpoints.path(step)

    def remove_checkpoint(self, path: Any) -> None:
        """Does nothing: `Checkpoints` keeps the last two."""


class ResumeCheckpoint(Checkpoint):
    """Saves a checkpoint by steps, by time and after a signal; stores the random states of all processes in it.

    Args:
        every_n_train_steps: optimiser steps between checkpoints; None: by time only.
        minutes: minutes between checkpoints; None: by steps only.
    """

    def __init__(self, every_n_train_steps: int | None, minutes: float | None) -> None:
        self._steps, self._minutes = every_n_train_steps, minutes
        self._signals, self._states = Signals(), list[JsonObject]()
        self._due, self._saved_at, self._saved_step = False, time.monotonic(), -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = time.monotonic()
        self._signals.install()
        if self._states:
            restore_random_states(self._states[trainer.global_rank])
            self._states, self._saved_step = [], trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._due = self._due or (self._steps is not None and trainer.global_step % self._steps == 0)
        last = batch_idx + 1 >= trainer.num_training_batches
        validation = trainer.enable_validation and (batch_idx + 1) % (trainer.val_check_batch or 1) == 0
        if not last and not validation:
            self._save_or_stop(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._save_or_stop(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["random"] = gathered(random_states())

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._states = checkpoint["random"]
        if len(self._states) != trainer.world_size:
            raise InputError(
                f"resume: the run has {len(self._states)} processes, and trainer starts {trainer.world_size}; use the "
                "same number of devices"
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._signals.restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._signals.restore()

    def _save_or_stop(self, trainer: pl.Trainer) -> None:
        late = self._minutes is not None and time.monotonic() - self._saved_at >= 60 * self._minutes
        stop = anywhere(trainer, self._signals.number is not None)
        if stop or anywhere(trainer, self._due or late):
            self._save(trainer)
        if stop:
            raise StopTraining(self._signals.number or 15, trainer.global_step)

    def _save(self, trainer: Any) -> None:
        """Writes a checkpoint; all processes raise CdsframeError if it cannot be written."""
        if trainer.fast_dev_run or self._saved_step == trainer.global_step:
            return
        files: Any = trainer.strategy.checkpoint_io
        trainer.save_checkpoint(files.path(trainer.global_step))
        if anywhere(trainer, files.fault is not None):
            raise files.fault or SystemExit(0)
        self._due, self._saved_at, self._saved_step = False, time.monotonic(), trainer.global_step
