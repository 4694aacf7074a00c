"""Embeds texts as unit vectors by a model of the sentence-transformers format (Sentence-BERT, arXiv 1908.10084).

Tokenizer and model load separately, at first use. Does not cache vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field

from cdsframe.artifacts.files import expanded
from cdsframe.artifacts.run import read_manifest
from cdsframe.embedder.exported import ExportedEncoder
from cdsframe.embedder.library import LibraryEncoder, require_pooling
from cdsframe.embedder.tokens import Tokens
from cdsframe.encoder.batches import ReadyInputs, batches
from cdsframe.encoder.folder import EncoderFolder
from cdsframe.encoder.layers import normalised
from cdsframe.encoder.settings import Backend, EncoderSettings, backend_problems
from cdsframe.errors import ConfigError
from cdsframe.machine.compute_dtype import ComputeDtype
from cdsframe.text.search_form import search_form

if TYPE_CHECKING:
    import numpy as np

_SHOW_PROGRESS = 1000
"""Minimum number of texts for a progress bar."""

PoolingMode = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


class SentenceEmbedder:
    """A model of the sentence-transformers format, or a transformer with a pooling. Reads texts in their search form.

    Args:
        name: hub id, folder, or `package:NAME` of the encoder of passages (and of queries without `query_model`).
        query_model: a separate encoder of queries (MedCPT has one); None: the encoder of passages.
        query_prefix, passage_prefix: prefix of each text in the model's training; `""` for none; None: the prompt that
            is stored with the model, if any.
        pooling: how a model without `modules.json` makes one vector of its hidden states; for other models it must be
            what the model states. None: what the model states.
        max_tokens: maximum tokens of a text, special tokens included; longer texts are truncated.
        truncate_dim: first dimensions of each vector that are kept, for models trained for it (Matryoshka, arXiv
            2205.13147); None: all.
        compute_dtype: dtype of the transformer's matrix products; `auto`: bfloat16 if the hardware has units for it.
        backend: `torch` runs sentence-transformers. `openvino` and `onnx` run an exported graph without torch.
        batch_tokens: maximum tokens of a forward pass, padding included.
        batch_size: maximum texts of a forward pass; None: only `batch_tokens` limits.
        device: a torch device; `auto`: CUDA if available, else the CPU.
        cache: folder of the exported graphs.
    """

    makes_vectors = True

    def __init__(
        self,
        name: str,
        query_model: str | None,
        query_prefix: str | None,
        passage_prefix: str | None,
        pooling: PoolingMode | None,
        max_tokens: Annotated[int, Field(ge=16)],
        truncate_dim: Annotated[int, Field(ge=1)] | None,
        compute_dtype: ComputeDtype,
        backend: Backend,
        batch_tokens: Annotated[int, Field(ge=16)],
        batch_size: Annotated[int, Field(ge=1)] | None,
        device: str,
        cache: str,
    ) -> None:
        def encoder(of: str) -> _Encoder:
            limits = batch_tokens, batch_size
            settings = EncoderSettings("embedder", of, max_tokens, compute_dtype, backend, *limits, device, cache)
            return _Encoder(settings, pooling, truncate_dim)

        self._max_tokens, self._pooling, self._truncate_dim = max_tokens, pooling, truncate_dim
        self._prefixes = {"query": query_prefix, "passage": passage_prefix}
        self._passages = encoder(name)
        self._queries = encoder(query_model) if query_model else self._passages

    @staticmethod
    def problems(backend: Backend, device: str, compute_dtype: ComputeDtype) -> list[str]:
        """Returns the problems of the options: a package, device or dtype that `backend` lacks."""
        return backend_problems("embedder", backend, device, compute_dtype)

    @staticmethod
    def tokens_read(max_tokens: int) -> int:
        """Returns the maximum tokens of a text before truncation, for the configuration check."""
        return max_tokens

    @staticmethod
    def has_query_model(query_model: str | None) -> bool:
        """Whether queries have another encoder than passages, for the configuration check."""
        return bool(query_model)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Settings that change the vectors; `compute_dtype` and `backend` change them by less than .0001 in cosine."""
        return {
            "name": self._passages.name,
            "query_model": self._queries.name,
            "query_prefix": self._prefixes["query"],
            "passage_prefix": self._prefixes["passage"],
            "pooling": self._pooling,
            "max_tokens": self._max_tokens,
            **({"truncate_dim": self._truncate_dim} if self._truncate_dim is not None else {}),
            **({"weights": weights} if (weights := self._passages.weights) else {}),
        }

    @property
    def dimension(self) -> int:
        return self._passages.dimension

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return self._passages.tokens.offsets(text)

    def count(self, text: str) -> int:
        """Returns a passage's number of tokens before truncation, including prefix and special tokens."""
        tokens = self._passages.tokens
        return tokens.special_tokens + len(tokens.offsets(self._prompts["passage"] + search_form(text)))

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._passages.encode("passage", [search_form(text) for text in texts], self._prompts["passage"])

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._queries.encode("query", [search_form(text) for text in texts], self._prompts["query"])

    @cached_property
    def _prompts(self) -> dict[str, str]:
        """`query`, `passage` -> text before each text: the configured prefix, or the prompt stored with the model."""
        folders = {"query": self._queries.folder, "passage": self._passages.folder}
        return {
            side: folders[side].prompt(side) if prefix is None else prefix for side, prefix in self._prefixes.items()
        }


class _Backend(Protocol):
    """Runs the model: `LibraryEncoder` or `ExportedEncoder`."""

    @property
    def dimension(self) -> int: ...

    def prepare(self, side: str, texts: Sequence[str], prompt: str) -> ReadyInputs: ...


class _Encoder:
    """One model: its tokenizer, and the back end that runs it; each is loaded at first use."""

    def __init__(self, settings: EncoderSettings, pooling: str | None, truncate_dim: int | None) -> None:
        self.name, self._settings, self._truncate_dim = settings.name, settings, truncate_dim
        self._pooling, self.folder = pooling, EncoderFolder("embedder", settings.name)
        self.tokens = Tokens(self.folder)

    @cached_property
    def weights(self) -> str | None:
        """Digest of the weights of a model trained by `training=embedder`; None for other models.

        The name does not identify such a model: its folder keeps its name when it is trained again.
        """
        manifest = expanded(self.name) / "manifest.json"
        if not manifest.is_file():
            return None
        digests = read_manifest(manifest.parent, "embedder", "train it again", {"digests": dict})["digests"]
        found: str | None = digests.get("embedder")
        return found

    @cached_property
    def backend(self) -> _Backend:
        require_pooling(self.folder, self._pooling)
        if self._settings.backend == "torch":
            return LibraryEncoder(self._settings, self._pooling, self.tokens)
        return ExportedEncoder(self._settings, self._pooling)

    @cached_property
    def dimension(self) -> int:
        """Length of a vector. Raises ConfigError if `truncate_dim` is more than the model has."""
        whole = self.backend.dimension
        if self._truncate_dim is not None and self._truncate_dim > whole:
            raise ConfigError(
                f"embedder.truncate_dim={self._truncate_dim} is more than the {whole} dimensions of {self.name}; lower "
                "it, or use embedder.truncate_dim=null"
            )
        return self._truncate_dim or whole

    def encode(self, side: str, texts: Sequence[str], prompt: str) -> np.ndarray:
        """Returns unit vectors `[n, dimension]` in the order of the texts; batches texts of similar length."""
        import numpy as np
        from tqdm import tqdm

        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors
        ready = self.backend.prepare(side, texts, prompt)
        bar = tqdm(total=len(texts), desc="embedding", unit=" texts", disable=len(texts) < _SHOW_PROGRESS, leave=False)
        with bar:
            for batch in batches(ready.lengths, self._settings.batch_tokens, self._settings.batch_size):
                vectors[batch] = ready.run(batch)[:, : self.dimension]
                bar.update(len(batch))
        return normalised(vectors)
