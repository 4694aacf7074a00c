"""Scores pairs by an exported graph (`backend=openvino` or `onnx`). Imports torch only to export a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cdsframe.encoder.batches import ReadyInputs
from cdsframe.encoder.export import Exportable, require_close, write_export
from cdsframe.encoder.exported import ExportedModel
from cdsframe.errors import ConfigError
from cdsframe.reranker.library import cross_encoder

if TYPE_CHECKING:
    import numpy as np

_SAMPLES = ("fever", "The dose of morphine is 5 mg, twice a day.", "a cough at night that lasts " * 40, "Größe: 2 µm")


class ExportedScorer(ExportedModel):
    """The exported graph of a sequence classifier."""

    def prepare(self, query: str, texts: Sequence[str]) -> ReadyInputs:
        """Returns the pairs ready for scoring; `run` returns the model's outputs `[pairs, outputs]`."""
        tokenized = self._inputs.tokenized([(query, text) for text in texts])

        def run(batch: Sequence[int]) -> np.ndarray:
            return self._outputs(self._padded(tokenized, batch))

        return ReadyInputs([len(one.ids) for one in tokenized], run)

    def _export(self, folder: Path) -> None:
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
        pairs = [("What is the dose of morphine?", text) for text in _SAMPLES]
        ready = ExportedScorer(self._settings, None, folder).prepare(pairs[0][0], _SAMPLES)
        expected = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        found, wanted = ready.run(range(len(pairs))).ravel(), expected.ravel()
        require_close(self._settings, float(found @ wanted / (np.linalg.norm(found) * np.linalg.norm(wanted))))
