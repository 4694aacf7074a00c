"""The contract of a composed system. A system builds each component once, at first access."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from cdsframe.contracts.retrieval import (
    Chunker,
    Context,
    Corpus,
    Embedder,
    Fusion,
    Generator,
    Index,
    Reranker,
    Retriever,
)
from cdsframe.contracts.training import Contamination, DataSource, LanguageModel, Logger, Lora, Quantization, Trainer
from cdsframe.types import Confidence

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from cdsframe.artifacts.run import Run
    from cdsframe.citations import Checked
    from cdsframe.optimization import Optimization
    from cdsframe.pipeline import Pipeline
    from cdsframe.prompt import Prompt


class System(Protocol):
    """A system of compatible components. Access to a component that is not configured raises ConfigError."""

    @property
    def name(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def adapter(self) -> str | None: ...

    @property
    def run(self) -> Run: ...

    @property
    def corpus(self) -> Corpus: ...

    @property
    def chunking(self) -> Chunker: ...

    @property
    def embedder(self) -> Embedder: ...

    @property
    def index(self) -> Index: ...

    @property
    def retriever(self) -> Retriever: ...

    @property
    def reranker(self) -> Reranker: ...

    @property
    def context(self) -> Context: ...

    @property
    def prompt(self) -> Prompt: ...

    @property
    def quantization(self) -> Quantization: ...

    @property
    def model(self) -> LanguageModel: ...

    @property
    def lora(self) -> Lora: ...

    @property
    def data(self) -> DataSource: ...

    @property
    def contamination(self) -> Contamination: ...

    @property
    def optimization(self) -> Optimization: ...

    @property
    def trainer(self) -> Trainer: ...

    @property
    def callbacks(self) -> list[Callback]: ...

    @property
    def logger(self) -> list[Logger]: ...

    @property
    def generator(self) -> Generator: ...

    @property
    def calibration(self) -> Calibrator: ...

    @property
    def pipeline(self) -> Pipeline: ...

    @property
    def identities(self) -> Mapping[str, Mapping[str, Any]]:
        """Group -> the settings that identify its component: the component's `identity`, or else all its options."""

    @property
    def fusion(self) -> Fusion: ...


class Calibrator(Protocol):
    """Turns features of an answer into a confidence."""

    @property
    def threshold(self) -> float:
        """Answers with a lower probability are withheld; 0 withholds none."""

    @property
    def usable(self) -> bool:
        """Whether a confidence has a probability. If not, it is only a word such as "high", from rules."""

    @property
    def fitted(self) -> bool:
        """Whether it was fitted to answers."""

    def confidence(self, features: Mapping[str, float], checked: Checked) -> Confidence:
        """The confidence of an answer from its features and the check of its citations."""
