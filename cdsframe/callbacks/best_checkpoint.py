"""Keeps the model with the lowest validation loss. Checkpoints for resuming are written by `checkpointing`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from cdsframe.artifacts.files import atomic_folder, read_json, remove_partials, write_json
from cdsframe.errors import CdsframeError
from cdsframe.types import Metrics


class BestCheckpoint(pl.Callback):
    """Writes the model with its metrics whenever the validation loss is the lowest so far.

    Args:
        folder: the model's folder; replaced atomically.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._metrics: Metrics = {}
        self._train_loss = 0.0

    @property
    def metrics(self) -> Metrics:
        """The metrics of the best model. Raises CdsframeError if no model was kept."""
        if not self._metrics:
            raise CdsframeError("no validation loss was finite, so no model was kept; lower optimization.learning_rate")
        return self._metrics

    def resume(self) -> None:
        """Reads the metrics of the best model of the interrupted run, if it has one."""
        remove_partials(self._folder)
        if (self._folder / "metrics.json").is_file():
            self._metrics = read_json(self._folder / "metrics.json", "resume")

    def state_dict(self) -> dict[str, Any]:
        return {"train_loss": self._train_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._train_loss = state_dict["train_loss"]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._train_loss = pl_module.metrics["train/loss"]

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn != "fit" or trainer.fast_dev_run or not trainer.is_global_zero:
            return
        loss = pl_module.metrics["val/loss"]
        if not loss < self._metrics.get("val/loss", float("inf")):
            return
        self._metrics = {
            "val/loss": loss,
            "train/steps": float(trainer.global_step),
            "train/loss": self._train_loss,
        }
        with atomic_folder(self._folder) as partial:
            pl_module.export(partial)
            write_json(partial / "metrics.json", self._metrics)
