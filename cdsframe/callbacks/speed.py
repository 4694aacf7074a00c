"""Measures the speed of training: tokens per second, remaining time, padding, memory and the device's utilisation."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl

from cdsframe.machine.speed import peak_memory


class Throughput(pl.Callback):
    """Adds its figures to the module's `metrics` after each step. Padding does not count as tokens."""

    def __init__(self) -> None:
        self.flops_per_token, self.peak_flops = 0.0, 0.0
        """Operations per token, and operations per second at the device's peak; 0: the utilisation is not reported."""
        self._tokens, self._seconds, self._started = 0, 0.0, 0.0

    @property
    def tokens_per_second(self) -> float:
        """Mean over the whole run, without the time of validations and checkpoints."""
        return self._tokens / max(self._seconds, 1e-9)

    def state_dict(self) -> dict[str, Any]:
        return {"tokens": self._tokens, "seconds": self._seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._tokens, self._seconds = state_dict["tokens"], state_dict["seconds"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self._tokens += batch["tokens"]
        self._seconds += time.monotonic() - self._started
        step = trainer.global_step
        figures = {
            "tokens_per_second": self.tokens_per_second,
            "seconds_left": (pl_module.total_steps - step) * self._seconds / step,
            "padding_share": batch["padding"],
            "peak_memory_gb": peak_memory(pl_module.device) / 1e9,
        }
        if self.peak_flops > 0:
            rate = self.tokens_per_second * self.flops_per_token / trainer.world_size
            figures["flops_utilisation"] = rate / self.peak_flops
        pl_module.metrics |= {f"train/{name}": value for name, value in figures.items()}
