"""Embeds texts by an exported graph (`backend=openvino` or `onnx`). Imports torch only to export a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.embedder.library import sentence_transformer
from cdsframe.encoder.batches import ReadyInputs
from cdsframe.encoder.export import Exportable, Layer, require_close, write_export
from cdsframe.encoder.exported import ExportedModel
from cdsframe.encoder.layers import ACTIVATIONS, LAYERS, normalised, pooled, readable
from cdsframe.encoder.settings import EncoderSettings
from cdsframe.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

_SAMPLES = ("fever", "The patient's dose is 5 mg, twice a day.", "a cough at night that lasts " * 40, "Größe über 2 µm")


class ExportedEncoder(ExportedModel):
    """An exported graph, and the modules after the transformer in numpy."""

    @property
    def dimension(self) -> int:
        return int(self._facts["dimension"])

    def prepare(self, side: str, texts: Sequence[str], prompt: str) -> ReadyInputs:
        """Returns the texts ready for encoding; `prompt` is put before each text."""
        tokenized = self._inputs.tokenized([prompt + text for text in texts])
        prompt_tokens = self._inputs.prompt_tokens(prompt) if prompt else 0

        def run(batch: Sequence[int]) -> np.ndarray:
            inputs = self._padded(tokenized, batch)
            states = self._outputs(inputs)
            vectors = pooled(states, inputs["attention_mask"], self._facts["layers"][0]["config"], prompt_tokens)
            for layer, weights in zip(self._facts["layers"][1:], self._weights, strict=True):
                vectors = LAYERS[layer["kind"]](vectors, layer["config"], weights)
            return vectors[:, : self.dimension]

        return ReadyInputs([len(one.ids) for one in tokenized], run)

    @cached_property
    def _weights(self) -> list[dict[str, np.ndarray]]:
        from safetensors.numpy import load_file

        files = [layer["weights"] for layer in self._facts["layers"][1:]]
        return [load_file(self._folder / file) if file else {} for file in files]

    def _export(self, folder: Path) -> None:
        import numpy as np
        import torch

        model = sentence_transformer(self._settings, self._pooling, torch.float32).eval()
        layers = [_layer(self._settings, module) for module in list(model)[1:]]
        kinds = [type(module).__name__ for module in model]
        if not readable(kinds):
            raise ConfigError(
                f"{self._settings.place} has the modules {', '.join(kinds)}; embedder.backend={self._settings.backend} "
                f"runs a Transformer and a Pooling, then {', '.join(sorted(LAYERS))}; use embedder.backend=torch"
            )
        inner, dimension = model.transformers_model, model.get_embedding_dimension()
        model_to_write = Exportable(inner, "last_hidden_state", model.tokenizer, layers, dimension)
        write_export(self._settings, model_to_write, folder)
        exact = ExportedEncoder(self._settings, self._pooling, folder)
        for prompt in ("", "query: "):
            expected = normalised(model.encode(list(_SAMPLES), prompt=prompt, show_progress_bar=False))
            found = normalised(exact.prepare("passage", _SAMPLES, prompt).run(range(len(_SAMPLES))))
            require_close(self._settings, float(np.min((expected * found).sum(1))))


def _layer(settings: EncoderSettings, module: Any) -> Layer:
    """Returns a module of the library as configuration and arrays. Raises ConfigError if it cannot run in numpy."""
    config = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
    inputs = {
        config.get("module_input_name", "sentence_embedding"),
        config.get("module_output_name") or "sentence_embedding",
    }
    activation = str(config.get("activation_function", "Identity")).rpartition(".")[2]
    if inputs != {"sentence_embedding"} or activation not in ACTIVATIONS:
        raise ConfigError(
            f"{settings.place} has a {type(module).__name__} that embedder.backend={settings.backend} cannot run "
            f"(activation {activation}, input {', '.join(sorted(inputs))}); use embedder.backend=torch"
        )
    weights = {name: tensor.detach().float().numpy() for name, tensor in module.state_dict().items()}
    return Layer(type(module).__name__, config, weights)
