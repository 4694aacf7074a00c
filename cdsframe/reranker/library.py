"""Scores pairs by the cross-encoders of sentence-transformers (`backend=torch`). Does not divide pairs into batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.loading import loading
from cdsframe.encoder.batches import ReadyInputs
from cdsframe.encoder.folder import EncoderFolder
from cdsframe.encoder.inputs import load_tokenizer
from cdsframe.encoder.settings import EncoderSettings
from cdsframe.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

_TRAINED = ("ForSequenceClassification", "ForCausalLM", "ForConditionalGeneration")
"""Endings of architectures with a head. For an encoder without a head, the library would make a random one."""


class LibraryScorer:
    """A `CrossEncoder` of sentence-transformers, loaded at first use."""

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()  # the library's tokenizer is not thread-safe

    def prepare(self, query: str, texts: Sequence[str]) -> ReadyInputs:
        """Returns the pairs ready for scoring; `run` returns the model's outputs `[pairs, outputs]`."""
        from torch.nn import Identity

        model, pairs = self.model, [(query, text) for text in texts]

        def run(batch: Sequence[int]) -> np.ndarray:
            with self._lock:
                found: np.ndarray = model.predict(
                    [pairs[number] for number in batch], batch_size=len(batch), activation_fn=Identity(),
                    show_progress_bar=False,
                )  # fmt: skip
            return found.reshape(len(batch), -1)

        lengths = [len(encoding.ids) for encoding in self._tokenizer.encode_batch(pairs)]
        return ReadyInputs([min(length, self._settings.max_tokens) for length in lengths], run)

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(EncoderFolder(self._settings.group, self._settings.name))

    @cached_property
    def model(self) -> Any:
        """The `CrossEncoder` in eval mode on its device."""
        import torch

        device = self._settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cross_encoder(self._settings, getattr(torch, self._settings.dtype())).eval().to(device)


def cross_encoder(settings: EncoderSettings, dtype: Any) -> Any:
    """Loads a `CrossEncoder` of sentence-transformers onto the CPU. Raises ConfigError if it cannot rerank."""
    folder = EncoderFolder(settings.group, settings.name)
    modules, stored = folder.modules(), folder.read("config_sentence_transformers.json") or {}
    architectures = (folder.read("config.json") or {}).get("architectures") or []
    whole = modules is not None and stored.get("model_type") == "CrossEncoder"
    if not whole and not any(name.endswith(_TRAINED) for name in architectures):
        raise ConfigError(
            f"reranker.name={settings.name} is not a trained classifier: its head has no weights; use a checkpoint "
            "of a cross-encoder"
        )
    with loading(settings.place):
        from sentence_transformers import CrossEncoder
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        arguments = {"dtype": dtype, "trust_remote_code": False}
        model = CrossEncoder(
            folder.path, device="cpu", model_kwargs=arguments, local_files_only=Path(folder.path).is_dir()
        )
    if model.num_labels > 2:
        raise ConfigError(
            f"reranker.name={settings.name} has {model.num_labels} outputs, expected 1 or 2; use a cross-encoder for "
            "ranking"
        )
    reads = getattr(model.config, "max_position_embeddings", None) or settings.max_tokens
    if reads < settings.max_tokens:
        raise ConfigError(
            f"reranker.max_tokens={settings.max_tokens} exceeds the {reads} positions of {settings.name}; lower it"
        )
    model.max_seq_length = settings.max_tokens
    return model
