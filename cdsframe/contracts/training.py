"""Contracts of training: language model, quantization, LoRA, data, contamination, trainer, loggers.

`Any` annotates objects of libraries: torch modules, tensors and dtypes, tokenizers, Lightning loggers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from cdsframe.types import Question

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from cdsframe.contamination import Screening


@runtime_checkable
class Quantization(Protocol):
    """The format in which the frozen weights of the linear layers are stored."""

    trains_base: bool
    """Whether the stored weights can be trained directly (`lora=none`)."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that an adapter depends on: trained on 4-bit weights, it answers differently on others."""

    def load_arguments(self, compute_dtype: Any) -> dict[str, Any]:
        """Arguments for transformers' `from_pretrained`."""

    def prepare(self, module: Any) -> None:
        """Prepares the loaded module in place; called once."""

    def for_inference(self, module: Any) -> None:
        """Called after `prepare` and before an adapter is added, if the module is used for inference only."""


@runtime_checkable
class LanguageModel(Protocol):
    """A causal language model with its tokenizer and, if configured, its adapter. Loads at first use."""

    name: str
    adapter: str | None
    """The adapter's folder; None for the base model."""
    new_tokens: list[str]
    """Words that are added to the vocabulary."""
    quantization: Quantization

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that an adapter depends on."""

    @property
    def public_name(self) -> str:
        """The model's name; for a local folder, the folder's name without its path."""

    @property
    def digest(self) -> str | None:
        """The digest of the base weights; None if they are not on disk."""

    @property
    def outputs_depend_on(self) -> str:
        """A digest of all that decides its outputs for given tokens: weights, adapter, quantization, precision."""

    @property
    def path(self) -> str:
        """The folder of the base model, or its Hugging Face Hub id."""

    @property
    def tokenizer(self) -> Any: ...

    @property
    def device(self) -> str: ...

    @property
    def compute_dtype(self) -> Any:
        """The torch dtype of activations and of unquantized weights."""

    def examine(self) -> None:
        """Checks the chat template and logs its repairs. Raises ConfigError if the template is unusable."""

    def load(self) -> Any:
        """The torch module for inference, with its adapter."""

    def load_for_training(self) -> Any:
        """The torch module without an adapter; its weights are frozen."""

    def with_adapter(self, adapter: str) -> LanguageModel:
        """The same model with the adapter in this folder."""

    def with_new_tokens(self, module: Any) -> Any:
        """The module with an embedding row for each new token."""

    def without_weights(self) -> Any:
        """The module on torch's meta device, without weights."""

    def padding_id(self) -> int:
        """The id of the padding token. Raises ConfigError if the tokenizer has none."""


@runtime_checkable
class Lora(Protocol):
    """Selects the weights to train."""

    trains_embeddings: bool
    """Whether the embedding rows of new tokens are trained."""
    trains_base: bool
    """Whether the base weights themselves are trained, without an adapter."""

    def attach(self, module: Any) -> Any:
        """The module with its trainable weights in float32. Raises ConfigError for a missing target module."""


@runtime_checkable
class DataSource(Protocol):
    """Questions with gold answers and evidence, split into train, validation and test."""

    @property
    def scope(self) -> str:
        """The population that the data is about; stored in an adapter's manifest."""

    @property
    def removed(self) -> Mapping[str, Mapping[str, int]]:
        """Split -> rule -> number of questions that the rule removed or changed, for the splits read so far."""

    def questions(self, split: str) -> list[Question]:
        """The questions of `train`, `validation` or `test`. Raises EmptySplitError if there are none."""


@runtime_checkable
class Contamination(Protocol):
    """Finds training questions that occur in evaluation sets."""

    def screen(self, train: Sequence[Question], data: DataSource, folder: Path) -> Screening:
        """The training questions to keep, and what was found; may write ids, no texts, into the run's folder."""


@runtime_checkable
class Trainer(Protocol):
    """Makes the Lightning Trainer of a training."""

    first: bool
    """Whether this process has rank 0, which writes files and prints."""
    overfit_batches: float
    """Batches, or share of the batches, that are trained again and again; 0: all are used."""

    def batches(self, available: int) -> int:
        """The number of training batches that are used of each epoch."""

    def steps(self, batches: int, max_epochs: int) -> int:
        """The number of optimizer steps of a training with so many batches per epoch."""

    def make(
        self,
        precision: Literal["bf16-mixed", "32-true"],
        max_epochs: int,
        folder: str,
        callbacks: Sequence[pl.Callback],
        checkpoint_io: Any,
    ) -> pl.Trainer:
        """The Lightning Trainer. `checkpoint_io`: a plugin of Lightning that reads and writes checkpoints."""


@runtime_checkable
class Logger(Protocol):
    """Records a training's metrics in addition to the run folder."""

    def open(self) -> Any:
        """Starts the record. Returns the Lightning logger; None if nothing is recorded."""

    def close(self, failed: bool) -> None:
        """Ends the record; called once. `failed`: whether the training failed."""
