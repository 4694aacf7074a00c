"""The training step as a LightningModule: the loss of the answers' tokens, and the optimiser's steps.

Logits are computed only at labelled positions. Does not build batches and does not write files.
"""

from __future__ import annotations

import math
import time
from typing import Any, Literal

import lightning
import torch
from torch.nn import functional

from cdsframe.encoding import IGNORED
from cdsframe.errors import CdsframeError


def loss_sum(model: Any, micro: dict[str, torch.Tensor]) -> torch.Tensor:
    """The summed cross-entropy (nats) of the labelled tokens of one micro-batch, a float32 scalar.

    The decoder runs over everything, the output layer over labelled positions only: never `[batch, length,
    vocabulary]`.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder, head = causal.get_decoder(), causal.get_output_embeddings()
    hidden = decoder(
        input_ids=micro["input_ids"], attention_mask=micro["attention_mask"], use_cache=False
    ).last_hidden_state
    targets = micro["labels"][:, 1:]
    wanted = targets != IGNORED
    logits = head(hidden[:, :-1][wanted])
    return functional.cross_entropy(logits.float(), targets[wanted], reduction="sum")


class SupervisedFineTuning(lightning.LightningModule):
    """Fine-tunes by effective batches (see `cdsframe.training.batches`).

    Args:
        model: a PEFT model, or a plain causal one of which all weights are trained.
        total_steps: optimiser steps of the whole run, for warm-up (linear) and decay (cosine, to zero).
    """

    def __init__(
        self,
        model: Any,
        learning_rate: float,
        warmup_share: float,
        weight_decay: float,
        clip_norm: float,
        optimizer: Literal["auto", "adamw", "paged_adamw"],
        total_steps: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self._learning_rate, self._weight_decay, self._clip_norm = learning_rate, weight_decay, clip_norm
        self._warmup_steps, self._total_steps = max(1, round(warmup_share * total_steps)), total_steps
        self._optimizer = optimizer
        self._validation: list[float] = [0.0, 0.0]
        self.trained_tokens, self.train_seconds = 0, 0.0

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One optimiser step over one effective batch."""
        started = time.monotonic()
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        optimizer.zero_grad()
        total = 0.0
        for micro in batch["micro"]:
            loss = loss_sum(self.model, micro) / batch["labelled"]
            self.manual_backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise CdsframeError(
                f"the loss became {total} at step {self.global_step}, in the batch {', '.join(batch['ids'])}; "
                "lower training.learning_rate, or look at those examples"
            )
        norm = torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self._clip_norm)
        optimizer.step()
        schedule.step()
        self.trained_tokens += batch["tokens"]
        self.train_seconds += time.monotonic() - started
        self.log_dict(
            {
                "train/loss": total,
                "train/gradient_norm": float(norm),
                "train/learning_rate": optimizer.param_groups[0]["lr"],
                "train/tokens_per_second": self.trained_tokens / self.train_seconds,
            },
            batch_size=len(batch["ids"]),
        )
        self.log("loss", total, prog_bar=True, logger=False, batch_size=len(batch["ids"]))

    def on_validation_epoch_start(self) -> None:
        self._validation = [0.0, 0.0]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Adds up the loss and the labelled tokens."""
        for micro in batch["micro"]:
            self._validation[0] += float(loss_sum(self.model, micro))
        self._validation[1] += batch["labelled"]

    def on_validation_epoch_end(self) -> None:
        """Logs `val/loss`: nats per labelled token over the whole split."""
        self.log("val/loss", self._validation[0] / self._validation[1], prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW (paged on CUDA, whose states then move to the CPU when memory is short), warm-up and cosine decay."""
        weights = [p for p in self.model.parameters() if p.requires_grad]
        paged = self._optimizer == "paged_adamw" or (self._optimizer == "auto" and torch.cuda.is_available())
        if paged:
            import bitsandbytes

            make: Any = bitsandbytes.optim.PagedAdamW32bit
        else:
            make = torch.optim.AdamW
        optimizer = make(weights, lr=self._learning_rate, weight_decay=self._weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _factor(self, step: int) -> float:
        if step < self._warmup_steps:
            return (step + 1) / self._warmup_steps
        progress = (step - self._warmup_steps) / max(1, self._total_steps - self._warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
