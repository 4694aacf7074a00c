"""Scores pairs by an exported graph (`backend=openvino` or `onnx`). Imports torch only to export a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.encoder.batches import ReadyInputs
from cdsframe.encoder.export import Exportable, exported, read_export, require_close, write_export
from cdsframe.encoder.graphs import Graph, graph
from cdsframe.encoder.inputs import Inputs
from cdsframe.encoder.settings import EncoderSettings
from cdsframe.errors import ConfigError
from cdsframe.reranker.library import cross_encoder

if TYPE_CHECKING:
    import numpy as np

_SAMPLES = ("fever", "The dose of morphine is 5 mg, twice a day.", "a cough at night that lasts " * 40, "Größe: 2 µm")


class ExportedScorer:
    """The graph of a sequence classifier, exported from the library's model at first use."""

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings

    def prepare(self, query: str, texts: Sequence[str]) -> ReadyInputs:
        """Returns the pairs ready for scoring; `run` returns the model's outputs `[pairs, outputs]`."""
        return _prepared(self._inputs, self._graph, self._facts, query, texts)

    @cached_property
    def _folder(self) -> Path:
        return exported(self._settings, None, self._export)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return read_export(self._folder)

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(self._folder, self._facts, self._settings.max_tokens)

    @cached_property
    def _graph(self) -> Graph:
        return graph(self._settings.backend, self._folder, self._settings.dtype())

    def _export(self, folder: Path) -> None:
        """Writes the export. Raises ConfigError if its outputs in float32 differ from the library's."""
        import numpy as np
        import torch

        model = cross_encoder(self._settings, torch.float32).eval()
        kinds = [type(module).__name__ for module in model]
        if kinds != ["Transformer"] or "logits" not in str(model[0].modality_config):
            raise ConfigError(
                f"{self._settings.place} has the modules {', '.join(kinds)}; reranker.backend={self._settings.backend} "
                "runs sequence classifiers only; use reranker.backend=torch"
            )
        write_export(self._settings, Exportable(model.transformers_model, "logits", model.tokenizer), folder)
        facts, pairs = read_export(folder), [("What is the dose of morphine?", text) for text in _SAMPLES]
        exact = graph(self._settings.backend, folder, "float32")
        ready = _prepared(Inputs(folder, facts, self._settings.max_tokens), exact, facts, pairs[0][0], _SAMPLES)
        expected = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        found, wanted = ready.run(range(len(pairs))).ravel(), expected.ravel()
        require_close(self._settings, float(found @ wanted / (np.linalg.norm(found) * np.linalg.norm(wanted))))


def _prepared(inputs: Inputs, graph: Graph, facts: dict[str, Any], query: str, texts: Sequence[str]) -> ReadyInputs:
    tokenized = inputs.tokenized([(query, text) for text in texts])

    def run(batch: Sequence[int]) -> np.ndarray:
        arrays = inputs.padded([tokenized[number] for number in batch])
        return graph({name: arrays[name] for name in facts["inputs"]})

    return ReadyInputs([len(one.ids) for one in tokenized], run)
