"""A model's exported graph with its tokenizer, each loaded at first use. Imports torch only to export a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.encoder.export import exported, read_export
from cdsframe.encoder.graphs import Graph, graph
from cdsframe.encoder.inputs import Inputs
from cdsframe.encoder.settings import EncoderSettings

if TYPE_CHECKING:
    import numpy as np


class ExportedModel(ABC):
    """Runs a model's graph in ONNX Runtime or OpenVINO; exports the graph from sentence-transformers at first use.

    Args:
        pooling: how token vectors become one vector if the model's files do not say so; None for cross-encoders.
        folder: None: the graph is read from the cache, or exported to it, and run in the configured dtype. A folder:
            the graph in it is run in float32; used to compare a new export with sentence-transformers.
    """

    def __init__(self, settings: EncoderSettings, pooling: str | None, folder: Path | None = None) -> None:
        self._settings, self._pooling, self._given = settings, pooling, folder

    @abstractmethod
    def _export(self, folder: Path) -> None:
        """Writes the export. Raises ConfigError if its outputs in float32 differ from the library's."""

    @cached_property
    def _folder(self) -> Path:
        return self._given or exported(self._settings, self._pooling, self._export)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return read_export(self._folder)

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(self._folder, self._facts, self._settings.max_tokens)

    @cached_property
    def _graph(self) -> Graph:
        dtype = "float32" if self._given else self._settings.dtype()
        return graph(self._settings.backend, self._folder, dtype)

    def _outputs(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The graph's output for the inputs that it takes."""
        return self._graph({name: inputs[name] for name in self._facts["inputs"]})

    def _padded(self, tokenized: Sequence[Any], batch: Sequence[int]) -> dict[str, np.ndarray]:
        return self._inputs.padded([tokenized[number] for number in batch])
