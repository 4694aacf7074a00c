"""Embeds texts by sentence-transformers (`backend=torch`). Does not divide texts into batches."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.loading import loading
from cdsframe.embedder.tokens import Tokens
from cdsframe.encoder.batches import ReadyInputs
from cdsframe.encoder.folder import EncoderFolder
from cdsframe.encoder.settings import EncoderSettings
from cdsframe.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


class LibraryEncoder:
    """A model of sentence-transformers, loaded at first use.

    A folder without `modules.json` is a transformer, followed by the pooling of the configuration. The transformer
    computes in the configured dtype, all later modules in float32.
    """

    def __init__(self, settings: EncoderSettings, pooling: str | None, tokens: Tokens) -> None:
        self._settings, self._pooling, self._tokens = settings, pooling, tokens
        self._lock = threading.Lock()  # the library's tokenizer is not thread-safe

    @property
    def dimension(self) -> int:
        return int(self.model.get_embedding_dimension())

    def prepare(self, side: str, texts: Sequence[str], prompt: str) -> ReadyInputs:
        """Returns the texts ready for encoding. `side`: `query` or `passage`; `prompt` is put before each text."""
        model, most = self.model, self._settings.max_tokens
        encode = model.encode_query if side == "query" else model.encode_document

        def run(batch: Sequence[int]) -> np.ndarray:
            with self._lock:
                found: np.ndarray = encode(
                    [texts[number] for number in batch], prompt=prompt, batch_size=len(batch), show_progress_bar=False
                )
            return found

        return ReadyInputs(
            [min(length, most) for length in self._tokens.lengths([prompt + text for text in texts])], run
        )

    @cached_property
    def model(self) -> Any:
        """The `SentenceTransformer` in eval mode on its device. Raises ConfigError if it contradicts the settings."""
        import torch

        device = self._settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model = sentence_transformer(self._settings, self._pooling, getattr(torch, self._settings.dtype())).eval()
        for module in list(model)[1:]:
            module.float()
        next(iter(model)).register_forward_hook(_in_float32)
        return model.to(device)


def sentence_transformer(settings: EncoderSettings, pooling: str | None, dtype: Any) -> Any:
    """Loads a `SentenceTransformer` onto the CPU, its transformer in the torch dtype `dtype`.

    Raises ConfigError if the folder and the settings contradict each other.
    """
    folder = EncoderFolder(settings.group, settings.name)
    modules = folder.modules()
    require_pooling(folder, pooling)
    with loading(settings.place):
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        arguments = {"dtype": dtype, "trust_remote_code": False}
        if modules is not None:
            model = SentenceTransformer(
                folder.path, device="cpu", model_kwargs=arguments, local_files_only=Path(folder.path).is_dir()
            )
        else:
            reads = Transformer(
                folder.path, model_kwargs=arguments, config_kwargs={"trust_remote_code": False},
                processor_kwargs={"trust_remote_code": False},
            )  # fmt: skip
            pool = Pooling(reads.get_embedding_dimension(), pooling)
            model = SentenceTransformer(modules=[reads, pool, Normalize()], device="cpu")
    most = getattr(model.config, "max_position_embeddings", None) or settings.max_tokens
    if most < settings.max_tokens:
        raise ConfigError(
            f"{settings.group}.max_tokens={settings.max_tokens} is more than the {most} tokens that {settings.name} "
            f"reads; use {settings.group}.max_tokens={most}"
        )
    model.max_seq_length = settings.max_tokens
    return model


def trainable(identity: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
    """Returns a model to train: a `SentenceTransformer` in float32 whose vectors have unit length, and its prompts.

    Args:
        identity: identity of the `SentenceEmbedder` that training begins with.

    The prompts (`query` and `passage` -> text) are also stored in the model.
    """
    import torch

    settings = EncoderSettings("embedder", identity["name"], identity["max_tokens"])
    model = sentence_transformer(settings, identity["pooling"], torch.float32)
    from sentence_transformers.sentence_transformer.modules import Normalize

    if not isinstance(list(model)[-1], Normalize):
        model.append(Normalize())
    folder = EncoderFolder(settings.group, settings.name)
    stated = {side: identity[f"{side}_prefix"] for side in ("query", "passage")}
    prompts = {side: folder.prompt(side) if prompt is None else prompt for side, prompt in stated.items()}
    model.prompts = {side: prompt for side, prompt in prompts.items() if prompt}
    return model, prompts


def require_pooling(folder: EncoderFolder, pooling: str | None) -> None:
    """Raises ConfigError if the model states another pooling than the configuration, or if neither states one."""
    if folder.modules() is None:
        if pooling is None:
            raise ConfigError(
                f"{folder.group}.name: {folder.name} has no modules.json, so nothing says how its hidden states become "
                f"one vector; set {folder.group}.pooling=mean, or the pooling of its training (cls, max, …)"
            )
        return
    stated = folder.pooling()
    if stated is not None and pooling is not None and stated != (pooling,):
        raise ConfigError(
            f"{folder.group}.pooling={pooling}, but {folder.name} was made with the pooling {' + '.join(stated)}; use "
            f"{folder.group}.pooling={stated[0] if len(stated) == 1 else 'null'}"
        )


def _in_float32(module: Any, arguments: Any, features: dict[str, Any]) -> dict[str, Any]:
    """Forward hook of the transformer: pooling its outputs in bfloat16 would lose precision and save no time."""
    for name, value in features.items():
        if hasattr(value, "is_floating_point") and value.is_floating_point():
            features[name] = value.float()
    return features
