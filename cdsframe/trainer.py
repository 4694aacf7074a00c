"""Lightning's Trainer as this project uses it: own adapters instead of checkpoints, progress, early stopping.

Does not know what is trained.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cdsframe.errors import ConfigError

_OURS = {
    "accelerator", "devices", "precision", "max_epochs", "max_steps", "val_check_interval", "num_sanity_val_steps",
    "log_every_n_steps", "logger", "callbacks", "enable_checkpointing", "enable_progress_bar", "enable_model_summary",
    "default_root_dir", "self",
}  # fmt: skip
"""Arguments of `lightning.Trainer` that this project decides."""


class LightningTrainer:
    """Fits a module.

    Args:
        accelerator: Lightning's own names; `auto` takes CUDA where there is some.
        max_steps: optimiser steps after which training stops; None: no limit.
        progress: whether a progress bar is shown.
        options: further arguments of `lightning.Trainer`, checked against its signature.
    """

    def __init__(
        self,
        accelerator: Literal["auto", "cpu", "gpu"],
        max_steps: Annotated[int, Field(ge=1)] | None,
        progress: bool,
        options: dict[str, Any],
    ) -> None:
        self._accelerator, self._max_steps, self._progress, self._options = accelerator, max_steps, progress, options

    def steps(self, planned: int) -> int:
        """How many of the planned optimiser steps will be taken: what the learning rate decays over."""
        return min(planned, self._max_steps or planned)

    def fit(
        self,
        module: Any,
        train: Any,
        validation: Any,
        *,
        precision: Literal["bf16-mixed", "32-true"],
        max_epochs: int,
        validations: int,
        patience: int,
        callbacks: Sequence[Any],
        loggers: Sequence[Any],
        folder: Path,
    ) -> None:
        """Trains until `max_epochs`, `max_steps`, or `patience` validations without a lower `val/loss`."""
        import lightning
        from lightning.pytorch.callbacks import EarlyStopping

        free = set(inspect.signature(lightning.Trainer).parameters) - _OURS
        wrong = sorted(set(self._options) - free)
        if wrong:
            raise ConfigError(
                f"trainer.options: {', '.join(wrong)} cannot be given; these can: {', '.join(sorted(free))}"
            )
        for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
            logging.getLogger(name).setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # Loading is not what takes the time here; and few steps an epoch are what small data has.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 with torch 2.13
            trainer = lightning.Trainer(
                accelerator=self._accelerator,
                devices=1,
                precision=precision,
                max_epochs=max_epochs,
                max_steps=self._max_steps or -1,
                val_check_interval=1 / validations,
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                logger=[logger for logger in loggers if logger is not None] or False,
                callbacks=[*callbacks, EarlyStopping("val/loss", patience=patience, check_on_train_epoch_end=False)],
                enable_checkpointing=False,
                enable_progress_bar=self._progress,
                enable_model_summary=False,
                default_root_dir=folder,
                **self._options,
            )
            try:
                trainer.fit(module, train, validation)
                if "val/loss" not in trainer.callback_metrics:  # max_steps ended the first epoch early
                    trainer.validate(module, validation, verbose=False)
            except SystemExit:
                if trainer.interrupted:  # Lightning turns Ctrl-C into exit code 1
                    raise KeyboardInterrupt from None
                raise
