"""Keeps the metrics of all steps and passes them to the loggers; a resumed run passes them all again."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl


class History(pl.Callback):
    """Rows of metrics with their `step` and `epoch`.

    Lightning's own logging would leave a gap in the logs of a resumed run: its CSV logger begins a new file.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for row in self.rows:
            _log(trainer, row)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._add(trainer, pl_module.metrics)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            self._add(trainer, pl_module.metrics)

    def _add(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        self.rows.append({**metrics, "epoch": float(trainer.current_epoch), "step": float(trainer.global_step)})
        _log(trainer, self.rows[-1])


def _log(trainer: pl.Trainer, row: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))
        logger.save()
