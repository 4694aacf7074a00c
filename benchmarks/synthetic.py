"""Made-up passages in any number, for measurements of size: MedQuAD's sentences shuffled, its vectors with noise.

Words and lengths are distributed as in MedQuAD; the vectors lie as crowded as many near-duplicates would (about forty
around each real one at a million), which is hard on approximate search. The text and the vector of a passage have
nothing to do with each other: nothing here measures quality.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import numpy as np

from benchmarks.measuring import composed, medquad_documents
from benchmarks.vectors import KeptVectors, minilm
from cdsframe.artifacts.digests import digest
from cdsframe.config import build
from cdsframe.types import Passage

NOISE = 0.5
"""Length of what is added to a vector of length 1: a cosine of about .9 with the real one."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_PER_DOCUMENT = 5


class Synthetic:
    """Passages `0 … n`, the same for the same number on every machine.

    Args:
        batch: how many passages one step of `batches` gives.
    """

    def __init__(self, batch: int = 20_000) -> None:
        self._batch = batch
        kept = KeptVectors(minilm())
        chunking = build(composed("ingest", "chunking.levels=[]").chunking, embedder=minilm())
        real = [passage for document in medquad_documents() for passage in chunking.split(document)]
        self._base = kept.encode_passages([passage.search_text for passage in real])
        self._sentences = [s for passage in real for s in _SENTENCE.split(passage.text) if s]
        self._titles = sorted({passage.title for passage in real})
        self.identity = {"embedder": kept.identity, "chunking": {"name": "synthetic"}}

    def batches(self, count: int) -> Iterator[tuple[list[Passage], np.ndarray]]:
        """Passages and their vectors."""
        for first in range(0, count, self._batch):
            numbers = range(first, min(first + self._batch, count))
            yield self._passages(numbers), self.vectors(numbers)

    def vectors(self, numbers: range) -> np.ndarray:
        """Unit vectors `[len(numbers), dimension]`; a range must begin where a batch does."""
        draw = np.random.default_rng(numbers.start)
        noise = draw.standard_normal((len(numbers), self._base.shape[1]), dtype=np.float32)
        noise *= NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
        vectors = self._base[np.arange(numbers.start, numbers.stop) % len(self._base)] + noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def nearest(self, queries: np.ndarray, count: int, k: int = 10) -> np.ndarray:
        """Numbers `[len(queries), k]` of the passages nearest to the queries, by comparing with all."""
        scores = np.full((len(queries), k), -2, dtype=np.float32)
        best = np.zeros((len(queries), k), dtype=np.int64)
        for first in range(0, count, self._batch):
            numbers = range(first, min(first + self._batch, count))
            new = queries @ self.vectors(numbers).T
            top = np.argpartition(-new, k, axis=1)[:, :k]
            scores = np.concatenate([scores, np.take_along_axis(new, top, 1)], axis=1)
            best = np.concatenate([best, top + first], axis=1)
            order = np.argsort(-scores, axis=1)[:, :k]
            scores, best = np.take_along_axis(scores, order, 1), np.take_along_axis(best, order, 1)
        return best

    def _passages(self, numbers: range) -> list[Passage]:
        draw = random.Random(numbers.start)
        return [self._passage(number, draw) for number in numbers]

    def _passage(self, number: int, draw: random.Random) -> Passage:
        words, parts, wanted = 0, [], draw.randint(60, 180)
        while words < wanted:
            parts.append(self._sentences[int(draw.random() * len(self._sentences))])
            words += parts[-1].count(" ") + 1
        text, page = " ".join(parts), f"page-{number // _PER_DOCUMENT}"
        return Passage(
            id=f"{number:09}",
            document_id=page,
            section_id=page,
            level="passage",
            text=text,
            title=self._titles[number // _PER_DOCUMENT % len(self._titles)],
            heading=(),
            ordinal=number % _PER_DOCUMENT,
            start=0,
            end=len(text),
            digest=digest(page),
            metadata={"source": f"source-{number % 10}", "department": f"department-{number % 1000}"},
        )
