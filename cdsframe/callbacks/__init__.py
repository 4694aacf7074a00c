"""Makes the callbacks of a training for Lightning's Trainer. Imports Lightning only when one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from lightning.pytorch import Callback

Count = Annotated[int, Field(ge=1)]


def checkpoint(every_n_train_steps: Count | None, minutes: Annotated[float, Field(gt=0)] | None) -> Callback:
    """Writes the checkpoints from which an interrupted run resumes (see `ResumeCheckpoint`)."""
    from cdsframe.callbacks.checkpointing import ResumeCheckpoint

    return ResumeCheckpoint(every_n_train_steps, minutes)


def early_stopping(patience: Count) -> Callback:
    """Stops after `patience` validations without a lower validation loss."""
    from cdsframe.callbacks.stopping import EarlyStopping

    return EarlyStopping(patience)


def throughput() -> Callback:
    """Logs tokens per second, remaining time, padding, peak memory and the device's utilisation."""
    from cdsframe.callbacks.speed import Throughput

    return Throughput()


def learning_rate_monitor(logging_interval: Literal["step", "epoch"], log_weight_decay: bool) -> Callback:
    """Lightning's LearningRateMonitor: logs the learning rate of each parameter group."""
    from lightning.pytorch.callbacks import LearningRateMonitor

    return LearningRateMonitor(logging_interval, log_weight_decay=log_weight_decay)


def progress(refresh_rate: Count, leave: bool) -> Callback:
    """Lightning's progress bar."""
    from lightning.pytorch.callbacks import TQDMProgressBar

    return TQDMProgressBar(refresh_rate, leave=leave)
