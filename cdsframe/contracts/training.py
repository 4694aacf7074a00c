"""Contracts of what is trained and how: language model, quantization, LoRA, data, trainer, loggers.

`Any` stands for objects of libraries: torch modules, tensors and dtypes, tokenizers, Lightning loggers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, runtime_checkable

from cdsframe.types import Question


@runtime_checkable
class Quantization(Protocol):
    """How the frozen weights of the linear layers are held in memory."""

    trains_base: bool
    """Whether weights held so can be trained themselves (`lora=none`)."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What an adapter depends on: one trained on 4-bit weights answers differently on others."""

    def load_arguments(self, compute_dtype: Any) -> dict[str, Any]:
        """Arguments for transformers' `from_pretrained`."""

    def prepare(self, module: Any) -> None:
        """Changes the loaded module in place; called once."""

    def for_inference(self, module: Any) -> None:
        """Called after `prepare` where the module will only run forwards, before an adapter is added."""


@runtime_checkable
class LanguageModel(Protocol):
    """A causal language model with its tokenizer and, where one is configured, its adapter. Loads at first use."""

    name: str
    adapter: str | None
    """The adapter's folder; None for the base model."""
    new_tokens: list[str]
    """Words that become tokens."""
    quantization: Quantization

    @property
    def identity(self) -> Mapping[str, Any]:
        """What an adapter depends on."""

    @property
    def public_name(self) -> str:
        """The name without the path of a local folder."""

    @property
    def digest(self) -> str | None:
        """Of the base weights; None where they lie on no disk."""

    @property
    def path(self) -> str:
        """The folder of the base model, or its hub id."""

    @property
    def tokenizer(self) -> Any: ...

    @property
    def device(self) -> str: ...

    @property
    def compute_dtype(self) -> Any:
        """The torch dtype of activations and of weights that are not quantized."""

    def examine(self) -> None:
        """Prints test conversations with the chat template. Raises ConfigError where it cannot be used."""

    def load(self) -> Any:
        """The torch module for inference, with its adapter."""

    def load_for_training(self) -> Any:
        """The torch module without an adapter, its weights frozen."""

    def with_adapter(self, adapter: str) -> LanguageModel:
        """The same model with an adapter's folder."""

    def with_new_tokens(self, module: Any) -> Any:
        """The module with a row of the embeddings for each new token."""

    def without_weights(self) -> Any:
        """The module on torch's meta device: shapes only."""

    def padding_id(self) -> int:
        """The token that fills a batch. Raises ConfigError where the tokenizer has none."""


@runtime_checkable
class Lora(Protocol):
    """Chooses the weights that are trained."""

    trains_embeddings: bool
    """Whether the rows of new tokens are trained."""
    trains_base: bool
    """Whether the base weights themselves are trained, without an adapter."""

    def attach(self, module: Any) -> Any:
        """The module with its trainable weights, in float32. Raises ConfigError for a target that it does not have."""


@runtime_checkable
class DataSource(Protocol):
    """Questions with gold answers and evidence, in splits."""

    @property
    def scope(self) -> str:
        """Whom the data is about; kept in an adapter's manifest."""

    @property
    def removed(self) -> Mapping[str, Mapping[str, int]]:
        """Split -> rule -> how many questions the rule removed or changed, of the splits that were read."""

    def questions(self, split: str) -> list[Question]:
        """The questions of `train`, `validation` or `test`. Raises EmptySplitError where there are none."""


class Devices(Protocol):
    """This process's device, and its communication with the other processes. All processes make the same calls."""

    device: Any
    """A torch device."""
    rank: int
    world_size: int
    first: bool
    """Whether this is the process that writes files and prints."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of a forward pass."""

    def sum(self, tensor: Any) -> Any:
        """Sums the tensor over all processes, in place."""

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process has it set."""

    def gather(self, value: Any) -> list[Any]:
        """Each process's value, by rank."""

    def tell(self, value: Any) -> Any:
        """The first process's value."""


@runtime_checkable
class Trainer(Protocol):
    """Starts the processes that train."""

    progress: bool
    """Whether a progress bar is shown."""
    first: bool
    """Whether this is the process that writes files and prints."""

    def steps(self, planned: int) -> int:
        """How many of the planned optimiser steps are taken."""

    def launch(self, precision: Literal["bf16-mixed", "32-true"]) -> Devices: ...


@runtime_checkable
class Logger(Protocol):
    """Records a training's metrics besides the run's folder."""

    def open(self) -> Any:
        """The Lightning logger, or None."""

    def close(self, failed: bool) -> None:
        """Ends the record; called once, whether the training failed or not."""
