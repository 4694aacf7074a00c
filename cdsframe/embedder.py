"""Embeds texts as unit vectors by transformer encoders (Sentence-BERT, arXiv 1908.10084); `NoEmbedder`; a test double.

Tokenizer and model load separately, at first use. Runs encoders by transformers: importing sentence-transformers would
cost each process five more CPU-seconds for the same vectors. Does not cache vectors.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cdsframe.artifacts.files import expanded
from cdsframe.artifacts.packaged import model_path
from cdsframe.artifacts.run import read_manifest
from cdsframe.errors import ConfigError, InputError
from cdsframe.text.search_form import UNSPACED, search_form

if TYPE_CHECKING:
    import numpy as np

_SHOW_PROGRESS = 1000
"""Minimum number of texts for a progress bar."""

_WORD = re.compile(r"\w+|[^\w\s]")
_LENGTH = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+|[^\\w\\s]")
"""Units of length without a tokenizer: a word, a letter of a script without spaces, or a punctuation mark."""

_WHOLE, _PIECE = 32, 5
"""A word of up to `_WHOLE` letters counts as one unit; a longer word counts as one per `_PIECE` letters."""


class SentenceEmbedder:
    """An encoder whose hidden states are pooled into one vector. Reads texts in their search form.

    Each letter that the tokenizer cannot read counts as one token of a text's length.

    Args:
        name: hub id, folder, or `package:NAME` of the encoder of passages (and of queries without `query_model`).
        query_model: a separate encoder of queries (MedCPT has one); None: the encoder of passages.
        query_prefix, passage_prefix: prefix of each text in the model's training; `""` for none.
        pooling: `mean` of all hidden states, or the first one (`cls`), as in the model's training.
        max_tokens: maximum tokens of a text, special tokens included; longer texts are truncated.
        batch_size: texts per forward pass.
        device: a torch device; `auto`: CUDA if available, else the CPU.
    """

    makes_vectors = True

    def __init__(
        self,
        name: str,
        query_model: str | None,
        query_prefix: str,
        passage_prefix: str,
        pooling: Literal["mean", "cls"],
        max_tokens: Annotated[int, Field(ge=16)],
        batch_size: Annotated[int, Field(ge=1)],
        device: str,
    ) -> None:
        self._max_tokens, self._passage_prefix, self._query_prefix = max_tokens, passage_prefix, query_prefix
        self._passages = _TransformerEncoder(name, pooling, max_tokens, batch_size, device)
        self._queries = (
            _TransformerEncoder(query_model, pooling, max_tokens, batch_size, device) if query_model else self._passages
        )

    @staticmethod
    def tokens_read(max_tokens: int) -> int:
        """Tokens of a text that are read before it is truncated, for the configuration check."""
        return max_tokens

    @staticmethod
    def has_query_model(query_model: str | None) -> bool:
        """Whether queries have another encoder than passages, for the configuration check."""
        return bool(query_model)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "name": self._passages.name,
            "query_model": self._queries.name,
            "query_prefix": self._query_prefix,
            "passage_prefix": self._passage_prefix,
            "pooling": self._passages.pooling,
            "max_tokens": self._max_tokens,
            **({"weights": weights} if (weights := self._passages.weights) else {}),
        }

    @property
    def dimension(self) -> int:
        return int(self._passages.model.config.hidden_size)

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return self._passages.offsets(text)

    def count(self, text: str) -> int:
        """Returns a passage's number of tokens before truncation, including prefix and special tokens."""
        encoder = self._passages
        return encoder.special_tokens + len(encoder.offsets(self._passage_prefix + search_form(text)))

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._passages.encode([self._passage_prefix + search_form(text) for text in texts])

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._queries.encode([self._query_prefix + search_form(text) for text in texts])


class _TransformerEncoder:
    """A model with its tokenizer, each loaded at first use."""

    def __init__(self, name: str, pooling: str, max_tokens: int, batch_size: int, device: str) -> None:
        self.name, self.pooling = name, pooling
        self._max_tokens, self._batch_size, self._device = max_tokens, batch_size, device

    @cached_property
    def weights(self) -> str | None:
        """Digest of the weights of a model trained by `training=embedder`, since its folder keeps its name when it is
        trained again; None for other models."""
        manifest = expanded(self.name) / "manifest.json"
        if not manifest.is_file():
            return None
        digests = read_manifest(manifest.parent, "embedder", "train it again", {"digests": dict})["digests"]
        found: str | None = digests.get("embedder")
        return found

    @cached_property
    def tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer` without truncation and padding."""
        from tokenizers import Tokenizer

        path = model_path(self.name)
        if (Path(path) / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(Path(path) / "tokenizer.json"))
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(path).backend_tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def special_tokens(self) -> int:
        """Number of special tokens added to a text."""
        return int(self.tokenizer.num_special_tokens_to_add(False))

    @cached_property
    def _unknown(self) -> int | None:
        """Id of the unknown token; None if the tokenizer has none (byte-level tokenizers)."""
        model = json.loads(self.tokenizer.to_str())["model"]
        if model["type"] == "Unigram":
            return None if model.get("byte_fallback") else model.get("unk_id")
        return None if model.get("unk_token") is None else self.tokenizer.token_to_id(model["unk_token"])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Returns the character spans of a text's tokens, and of each letter unknown to or dropped by the tokenizer."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        spans, unknown = encoding.offsets, self._unknown
        if text.isascii() and unknown not in encoding.ids:
            found: list[tuple[int, int]] = spans
            return found
        found, seen = list[tuple[int, int]](), 0
        for number, (start, end) in zip(encoding.ids, spans, strict=True):
            found += _letters(text, seen, start)
            found += _letters(text, max(start, seen), end) or [(start, end)] if number == unknown else [(start, end)]
            seen = max(seen, end)
        return found + _letters(text, seen, len(text))

    @cached_property
    def model(self) -> Any:
        """The encoder in eval mode on its device. Raises ConfigError if the model does not fit the configuration."""
        import torch
        from transformers import AutoModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        path = model_path(self.name)
        _refuse_other_modules(self.name, Path(path) / "modules.json")
        model = AutoModel.from_pretrained(path, dtype=torch.float32).eval()
        reads = getattr(model.config, "max_position_embeddings", self._max_tokens)
        if reads < self._max_tokens:
            raise ConfigError(
                f"embedder.max_tokens={self._max_tokens} is more than the {reads} tokens that {self.name} reads; use "
                f"embedder.max_tokens={reads}"
            )
        device = self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return model.to(device)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Returns vectors `[n, dimension]` in the order of the texts; batches texts of similar length."""
        import numpy as np
        import torch
        from tqdm import tqdm

        vectors = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        ids = [self._cut(encoding.ids) for encoding in self.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda number: -len(ids[number]))
        bar = tqdm(total=len(ids), desc="embedding", unit=" texts", disable=len(ids) < _SHOW_PROGRESS, leave=False)
        with torch.inference_mode(), bar:
            for first in range(0, len(order), self._batch_size):
                batch = order[first : first + self._batch_size]
                vectors[batch] = self._pool([ids[number] for number in batch])
                bar.update(len(batch))
        return vectors

    def _cut(self, ids: list[int]) -> list[int]:
        """Truncates to `max_tokens` ids, keeping the final special token."""
        return ids if len(ids) <= self._max_tokens else [*ids[: self._max_tokens - 1], ids[-1]]

    def _pool(self, batch: list[list[int]]) -> np.ndarray:
        import torch

        longest = max(map(len, batch))
        pad = self.model.config.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in batch], device=self.model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=self.model.device)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            pooled = states[:, 0]
        else:
            pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()


def _letters(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Returns the spans of visible characters in `text[start:end]`, each with its combining marks.

    Needed because a tokenizer makes one unknown token of thousands of letters, and drops private-use characters.
    """
    found: list[tuple[int, int]] = []
    for place in range(start, end):
        kind = unicodedata.category(text[place])
        if kind in ("Mn", "Me") and found and found[-1][1] == place:
            found[-1] = found[-1][0], place + 1
        elif kind not in ("Mn", "Me", "Cc", "Cf", "Zs", "Zl", "Zp"):
            found.append((place, place + 1))
    return found


def _refuse_other_modules(name: str, modules: Path) -> None:
    """Raises ConfigError if a sentence-transformers folder has layers after the pooling, which are not run here."""
    if not modules.is_file():
        return
    kinds = {entry["type"].rpartition(".")[2] for entry in json.loads(modules.read_text(encoding="utf-8"))}
    if other := kinds - {"Transformer", "Pooling", "Normalize"}:
        raise ConfigError(
            f"embedder.name: {name} has the layers {', '.join(sorted(other))}, which cdsframe does not run; use "
            "another embedder"
        )


class NoEmbedder:
    """Makes no vectors, for an index that is searched by words only."""

    makes_vectors = False
    identity: Mapping[str, Any] = {}
    dimension = None
    max_tokens = None

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Returns the spans of words and punctuation marks.

        Splits scripts without spaces into letters, and words of more than 32 letters into pieces of 5.
        """
        found: list[tuple[int, int]] = []
        for start, end in (one.span() for one in _LENGTH.finditer(text)):
            size = end - start if end - start <= _WHOLE else _PIECE
            found += [(first, min(first + size, end)) for first in range(start, end, size)]
        return found

    def count(self, text: str) -> int:
        return len(self.offsets(search_form(text)))

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        raise InputError("embedder=none makes no vectors; use retriever=bm25, or ingest with embedder=minilm")

    encode_queries = encode_passages


class HashEmbedder(NoEmbedder):
    """A test double without a model: hashes words into a small vector, so that texts with common words are similar."""

    makes_vectors = True

    def __init__(self, dimension: int = 32, max_tokens: int | None = None) -> None:
        self.dimension = dimension  # type: ignore[assignment]
        self.max_tokens = max_tokens  # type: ignore[assignment]
        self.identity = {"name": "hash", "dimension": dimension}

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        vectors = np.full((len(texts), self.dimension or 0), 1e-3, dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(search_form(text).casefold()):
                hashed = int.from_bytes(sha256(word.encode("utf-8", "surrogatepass")).digest()[:8], "big")
                row[(hashed >> 1) % len(row)] += 1 - 2 * (hashed & 1)
        found: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return found

    encode_queries = encode_passages
