"""The training step as LightningModules: `FineTuning` here; `Contrastive` and `Listwise` in `ranking`.

A Lightning batch is an effective batch with its micro-batches. Optimisation is manual: the gradient is that of the
summed loss divided by the labelled tokens of the whole effective batch, whatever the micro-batches and the number of
processes. Does not build batches and does not write files.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from cdsframe.errors import CdsframeError
from cdsframe.optimization import Optimization
from cdsframe.training.loss import head_alone, loss_sum


class TrainingModule(pl.LightningModule):
    """One optimiser step per effective batch.

    Its `state_dict` holds the trained weights only.

    Args:
        model: the model; all its weights that require gradients are trained.
        optimization: learning rate, schedule, clipping and optimizer.
        total_steps: optimiser steps of the whole run, over which the schedule runs.
        export: writes the trained model into an empty folder, in the format in which it is used.
    """

    def __init__(
        self, model: Any, optimization: Optimization, total_steps: int, export: Callable[[Path], None]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.metrics: dict[str, float] = {}
        """Metrics of the last step or the last validation, as Python numbers."""
        self.total_steps, self.export = total_steps, export
        self._optimization = optimization
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    @abstractmethod
    def loss_sum(self, micro: dict[str, Any]) -> torch.Tensor:
        """The summed loss (nats) of a micro-batch; a scalar."""

    def configure_optimizers(self) -> Any:
        optimizer = self._optimization.optimizer(self._trained, self.device.type == "cuda")
        return [optimizer], [self._optimization.scheduler(optimizer, self.total_steps)]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Raises CdsframeError, and changes no weight, if the loss or the gradient is not finite."""
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        optimizer.zero_grad()
        total = torch.zeros((), device=self.device)
        for micro in batch["micro"]:
            loss = self.loss_sum(micro) / batch["labelled"]
            self.manual_backward(loss)
            total += loss.detach()
        self._sum_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self._trained.values(), self._optimization.clip_norm)
        total = self.trainer.strategy.reduce(total, reduce_op="sum")
        for name, value in (("loss", float(total)), ("gradient's norm", float(norm))):
            if not math.isfinite(value):
                raise CdsframeError(
                    f"the {name} became {value} at step {self.global_step + 1}, in the batch "
                    f"{', '.join(batch['ids'])}; lower optimization.learning_rate, or inspect those examples"
                )
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        self.metrics = {"train/loss": float(total), "train/gradient_norm": float(norm), "train/learning_rate": rate}
        self.log("train/loss", total, prog_bar=True, logger=False, batch_size=1)

    def on_validation_epoch_start(self) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        for micro in batch["micro"]:
            self._sums[0] += self.loss_sum(micro)
        self._sums[1] += batch["labelled"]

    def on_validation_epoch_end(self) -> None:
        """Logs `val/loss`, nats per labelled token (or per question) over all batches."""
        summed = self.trainer.strategy.reduce(self._sums[0].clone(), reduce_op="sum")
        loss = float(summed / self._sums[1])
        self.metrics = {"val/loss": loss}
        self.log("val/loss", loss, prog_bar=True, logger=False, batch_size=1, sync_dist=True)

    def to_device(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Moves the tensors of a micro-batch to the device."""
        return {
            name: value.to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in inputs.items()
        }

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the trained weights by their names in the model."""
        return dict(self._trained)

    def load_state_dict(self, state_dict: Mapping[str, Any], *_: Any, **__: Any) -> Any:
        """Loads the trained weights. Raises KeyError if one is missing."""
        with torch.no_grad():
            for name, weight in self._trained.items():
                weight.copy_(state_dict[name])

    def on_train_start(self) -> None:
        """Moves the moments of a paged optimiser back into paged memory, which loading a checkpoint does not do."""
        optimizers: list[Any] = self.trainer.optimizers
        for optimizer in optimizers:
            if getattr(optimizer, "is_paged", False):
                for weight, values in optimizer.state.items():
                    for name in values.keys() & {"state1", "state2"}:
                        values[name] = optimizer.get_state_buffer(weight, values[name].dtype).copy_(values[name])

    def _sum_gradients(self) -> None:
        """Sums the gradients over all processes."""
        if self.trainer.world_size == 1:
            return
        weights = list(self._trained.values())
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        flat = self.trainer.strategy.reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduce_op="sum")
        for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
            weight.grad = part.view_as(weight)


class FineTuning(TrainingModule):
    """Supervised fine-tuning: the cross-entropy of the answers' tokens."""

    def loss_sum(self, micro: dict[str, Any]) -> torch.Tensor:
        return loss_sum(self.model, self.to_device(micro), self._plain)

    @cached_property
    def _plain(self) -> bool:
        return head_alone(self.model)
