"""Turns texts into vectors of unit length: transformer encoders (Sentence-BERT, arXiv 1908.10084), none, and a double.

Models load at first use, tokenizers without their models. Encoders are run by transformers directly: importing
sentence-transformers would cost every process five more CPU-seconds for the same vectors. Does not cache vectors.
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
"""From how many texts on encoding takes long enough to show a bar."""

_WORD = re.compile(r"\w+|[^\w\s]")
_LENGTH = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+|[^\\w\\s]")
"""What counts as one of a text's length without a tokenizer: a word, a letter of a script without spaces, a sign."""

_WHOLE, _PIECE = 32, 5
"""Letters up to which a word counts as one, and of which each piece of a longer one counts."""


class SentenceEmbedder:
    """An encoder whose token states are pooled into one vector.

    It reads texts in their search form. What its tokenizer cannot read has the length of its letters.

    Args:
        name: a hub id, a folder, or `package:NAME`; of passages, and of queries too unless `query_model` is given.
        query_model: the queries' own encoder (MedCPT has two), or None.
        query_prefix, passage_prefix: what the model was trained to see before each text, `""` if nothing.
        pooling: the mean of all tokens' states, or the state of the first (`cls`), as the model was trained.
        max_tokens: how many tokens of a text are read, special ones included; the rest is cut.
        batch_size: texts that are encoded at once.
        device: a torch device, or `auto`: CUDA if there is one.
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
        self._passages = _Encoder(name, pooling, max_tokens, batch_size, device)
        self._queries = (
            _Encoder(query_model, pooling, max_tokens, batch_size, device) if query_model else self._passages
        )

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
        """How many tokens the model would read of a passage: its prefix and special tokens included, nothing cut."""
        encoder = self._passages
        return encoder.special_tokens + len(encoder.offsets(self._passage_prefix + search_form(text)))

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._passages.encode([self._passage_prefix + search_form(text) for text in texts])

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._queries.encode([self._query_prefix + search_form(text) for text in texts])


class _Encoder:
    """One model with its tokenizer, each loaded at first use."""

    def __init__(self, name: str, pooling: str, max_tokens: int, batch_size: int, device: str) -> None:
        self.name, self.pooling = name, pooling
        self._max_tokens, self._batch_size, self._device = max_tokens, batch_size, device

    @cached_property
    def weights(self) -> str | None:
        """The digest of what `training=embedder` left: trained anew, a folder's name stays and its vectors change."""
        manifest = expanded(self.name) / "manifest.json"
        if not manifest.is_file():
            return None
        digests = read_manifest(manifest.parent, "embedder", "train it again", {"digests": dict})["digests"]
        found: str | None = digests.get("embedder")
        return found

    @cached_property
    def tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer` that neither cuts nor pads."""
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
        """How many tokens go around a text."""
        return int(self.tokenizer.num_special_tokens_to_add(False))

    @cached_property
    def _unknown(self) -> int | None:
        """The token that stands for all that the tokenizer cannot read; None where it reads everything, by bytes."""
        model = json.loads(self.tokenizer.to_str())["model"]
        if model["type"] == "Unigram":
            return None if model.get("byte_fallback") else model.get("unk_id")
        return None if model.get("unk_token") is None else self.tokenizer.token_to_id(model["unk_token"])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The spans of a text's tokens, and of each letter that the tokenizer cannot read or drops."""
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
        """The encoder in evaluation mode on its device. Raises ConfigError where it cannot do what is asked of it."""
        import torch
        from transformers import AutoModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        path = model_path(self.name)
        _refuse_other_modules(self.name, Path(path) / "modules.json")
        model = AutoModel.from_pretrained(path, dtype=torch.float32).eval()
        reads = getattr(model.config, "max_position_embeddings", self._max_tokens)
        if reads < self._max_tokens:
            raise ConfigError(f"embedder.max_tokens={self._max_tokens} is more than the {reads} that {self.name} reads")
        device = self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return model.to(device)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors `[n, dimension]` in the order of the texts; texts of like length share a batch."""
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
        """At most `max_tokens` ids, the closing special token kept."""
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
    """The spans of the letters and signs of a part of a text, each with the marks on it; nothing of what has no shape.

    A tokenizer makes one token of thousands of letters that it cannot read, and none of letters for private use.
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
    """A folder of sentence-transformers may hold layers behind the pooling, which would be left out silently."""
    if not modules.is_file():
        return
    kinds = {entry["type"].rpartition(".")[2] for entry in json.loads(modules.read_text(encoding="utf-8"))}
    if other := kinds - {"Transformer", "Pooling", "Normalize"}:
        raise ConfigError(f"the embedder {name} has the layers {', '.join(sorted(other))}, which cdsframe does not run")


class NoEmbedder:
    """No vectors: an index that is searched by words only."""

    makes_vectors = False
    identity: Mapping[str, Any] = {}
    dimension = None
    max_tokens = None

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Spans of words; of single letters in scripts without spaces, of pieces of what is too long for a word."""
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
    """A double for tests: words hashed into a small vector, so that texts which share words are near. No model."""

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
