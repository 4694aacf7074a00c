"""Schedules validations: several per epoch, evenly spaced, the last at the epoch's end; and one after the last step."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl


class ValidationSchedule(pl.Callback):
    """Sets `Trainer.val_check_batch` before each step; Lightning's `val_check_interval` cannot reach an epoch's end.

    Args:
        per_epoch: validations per epoch.
    """

    def __init__(self, per_epoch: int) -> None:
        self._per_epoch = per_epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        # A resumed run first checks whether a validation is due after the checkpoint's last step.
        last = trainer.fit_loop.epoch_loop.batch_progress.current.ready - 1
        self._schedule(trainer, last, trainer.global_step == pl_module.total_steps)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._schedule(trainer, batch_idx, trainer.global_step + 1 == pl_module.total_steps)

    def _schedule(self, trainer: pl.Trainer, batch_idx: int, last_step: bool) -> None:
        """Makes Lightning validate after this batch if a validation is due: at multiples of `val_check_batch`."""
        batches = int(trainer.num_training_batches)
        due = {math.ceil(batches * n / self._per_epoch) for n in range(1, self._per_epoch + 1)}
        validate = batch_idx + 1 in due or last_step
        trainer.val_check_batch = batch_idx + 1 if validate else batch_idx + 2
