"""The training step: the loss of the answers' tokens, and the optimiser's steps.

Logits are computed only at labelled positions. Does not build batches and does not write files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch.nn import functional

from cdsframe.chat.encoding import IGNORED
from cdsframe.errors import CdsframeError
from cdsframe.lora import base_of
from cdsframe.training.attention import NAME, Lengths
from cdsframe.training.loss import cross_entropy_sum
from cdsframe.training.optimizers import Optimizer, make_optimizer
from cdsframe.types import JsonObject


def loss_sum(model: Any, micro: dict[str, Any], plain: bool = True) -> torch.Tensor:
    """The summed cross-entropy (nats) of the labelled tokens of one micro-batch (see `Layout`), a float32 scalar.

    The decoder runs over everything, the output layer over labelled positions only, in chunks: never `[batch, length,
    vocabulary]`.

    Args:
        plain: what `head_alone` says of the model; where it is false, logits are the model's own, and not in chunks.
    """
    causal = base_of(model)
    inputs = {name: value for name, value in micro.items() if name != "labels"}
    targets = micro["labels"][:, 1:]
    wanted = targets != IGNORED
    if plain:
        hidden = causal.get_decoder()(**inputs, use_cache=False).last_hidden_state
        return cross_entropy_sum(causal.get_output_embeddings(), hidden[:, :-1][wanted], targets[wanted])
    columns = wanted.any(0).nonzero()[:, 0]
    logits = causal(**inputs, use_cache=False, logits_to_keep=columns).logits
    logits = logits if logits.shape[1] == len(columns) else logits[:, columns]  # a model that knows no logits_to_keep
    some = wanted[:, columns]
    return functional.cross_entropy(logits[some].float(), targets[:, columns][some], reduction="sum")


def head_alone(model: Any) -> bool:
    """Whether the logits are what the output layer makes of the hidden states: some models scale or cap them."""
    causal = base_of(model)
    ids = torch.tensor([[3, 4, 5]], device=causal.get_input_embeddings().weight.device)
    inputs = {"input_ids": ids, "position_ids": torch.arange(3, device=ids.device)[None], "lengths": Lengths([3])}
    if causal.config._attn_implementation != NAME:
        del inputs["lengths"]
    training = model.training
    model.eval()
    with torch.no_grad():
        own = causal(**inputs, use_cache=False).logits
        plain = causal.get_output_embeddings()(causal.get_decoder()(**inputs, use_cache=False).last_hidden_state)
    model.train(training)
    return torch.allclose(plain.float(), own.float(), rtol=1e-2, atol=1e-3 * float(own.abs().max()))


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A weight's state as name and value; bitsandbytes has some of it in a mapping of its own."""
    for name, value in values.items():
        yield from value.items() if isinstance(value, Mapping) else [(name, value)]


class SupervisedFineTuning:
    """Fine-tunes by effective batches (see `cdsframe.training.batches`).

    Args:
        model: a PEFT model, or a plain causal one of which all weights are trained.
        total_steps: optimiser steps of the whole run, for warm-up (linear) and decay (cosine, to zero).
        devices: what `trainer.launch` gave.
    """

    def __init__(
        self,
        model: Any,
        learning_rate: float,
        warmup_share: float,
        weight_decay: float,
        clip_norm: float,
        optimizer: Optimizer,
        b_ratio: float,
        total_steps: int,
        devices: Any,
    ) -> None:
        self.model, self._devices = model, devices
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._learning_rate, self._clip_norm = learning_rate, clip_norm
        self._warmup_steps, self._total_steps = max(1, round(warmup_share * total_steps)), total_steps
        self._optimizer = make_optimizer(
            optimizer, self._weights, devices.device.type == "cuda", learning_rate, weight_decay, b_ratio
        )

    def update(self, batch: dict[str, Any], step: int) -> dict[str, float]:
        """One optimiser step, after `step` others, over one effective batch; what is to be logged of it.

        Raises CdsframeError, and changes no weight, where the loss or the gradient is not finite.
        """
        self._optimizer.zero_grad()
        total = torch.zeros((), device=self._devices.device)
        for micro in batch["micro"]:
            loss = self._loss_sum(micro) / batch["labelled"]
            loss.backward()
            total += loss.detach()
        self._sum_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self._weights.values(), self._clip_norm)
        for name, value in (("loss", float(self._devices.sum(total))), ("gradient's norm", float(norm))):
            if not math.isfinite(value):
                raise CdsframeError(
                    f"the {name} became {value} at step {step + 1}, in the batch {', '.join(batch['ids'])}; "
                    "lower training.learning_rate, or look at those examples"
                )
        rate = self._learning_rate * self._factor(step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["ratio"]
        self._optimizer.step()
        return {"train/loss": float(total), "train/gradient_norm": float(norm), "train/learning_rate": rate}

    def validate(self, batches: Iterable[dict[str, Any]], stop: Callable[[], bool]) -> float | None:
        """Nats per labelled token over all batches; None where `stop()` became true. Changes no random state."""
        sums = torch.zeros(2, dtype=torch.float64, device=self._devices.device)
        self.model.eval()
        try:
            with torch.no_grad():
                for batch in batches:
                    if stop():
                        return None
                    for micro in batch["micro"]:
                        sums[0] += self._loss_sum(micro)
                    sums[1] += batch["labelled"]
        finally:
            self.model.train()
        self._devices.sum(sums[:1])
        return float(sums[0] / sums[1])

    def state(self) -> tuple[dict[str, dict[str, torch.Tensor]], JsonObject]:
        """The trained weights and the optimiser's moments, and its numbers. The schedule has no state but the step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # paged moments are written by kernels and read by the processor
        moments, numbers = dict[str, torch.Tensor](), JsonObject()
        for index, values in self._optimizer.state_dict()["state"].items():
            for name, value in _flat(values):
                (moments if isinstance(value, torch.Tensor) else numbers)[f"{index}.{name}"] = value
        return {"weights": dict(self._weights), "optimizer": moments}, numbers

    def restore(self, tensors: dict[str, dict[str, torch.Tensor]], numbers: JsonObject) -> None:
        """Takes up what `state` gave."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(tensors["weights"][name])
        moments: dict[int, JsonObject] = {}
        for key, value in {**tensors["optimizer"], **numbers}.items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if getattr(self._optimizer, "is_paged", False):
            for weight, values in self._optimizer.state.items():
                for name in ("state1", "state2"):  # bitsandbytes loads them into memory that is not paged
                    values[name] = self._optimizer.get_state_buffer(weight, values[name].dtype).copy_(values[name])

    @cached_property
    def _plain(self) -> bool:
        return head_alone(self.model)

    def _loss_sum(self, micro: dict[str, Any]) -> torch.Tensor:
        there = {
            name: value.to(self._devices.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in micro.items()
        }
        with self._devices.autocast():
            return loss_sum(self.model, there, self._plain)

    def _sum_gradients(self) -> None:
        """Over all processes: each has divided by the whole batch's labelled tokens."""
        if self._devices.world_size == 1:
            return
        weights = list(self._weights.values())
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        flat = self._devices.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
            weight.grad = part.view_as(weight)

    def _factor(self, step: int) -> float:
        if step < self._warmup_steps:
            return (step + 1) / self._warmup_steps
        progress = (step - self._warmup_steps) / max(1, self._total_steps - self._warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
