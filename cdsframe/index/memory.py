"""An index in memory: exact BM25 (Robertson and Zaragoza 2009) and brute-force kNN. Gone with its process.

A public double for tests, and what training searches for distractors in a corpus that nobody has ingested.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdsframe.errors import ConfigError
from cdsframe.index.identity import Identity, require_dimension
from cdsframe.types import Filter, Hit, Passage, Request, digest, flatten

if TYPE_CHECKING:
    import numpy as np

K1, B = 0.9, 0.4

_WORD = re.compile(r"\w+")


class MemoryIndex:
    """Passages and vectors in dictionaries; what is not committed is not seen by searches.

    Args:
        identity: the settings that its content depends on, for its digest.
    """

    ephemeral = True

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._written: dict[str, list[tuple[Passage, np.ndarray | None]]] = {}
        self._committed: _Snapshot | None = None

    @property
    def digest(self) -> str | None:
        return digest(repr(self._identity), *flatten(self._committed.digests)) if self._committed else None

    @property
    def _seen(self) -> _Snapshot:
        if self._committed is None:
            raise ConfigError("index=memory is empty: it lives in one process only; use index=lance and run ingest.py")
        return self._committed

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Nothing else writes into this process's memory."""
        yield

    def write(self, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        dimension = None if vectors is None else vectors.shape[1]
        for rows in self._written.values():
            require_dimension("memory", None if rows[0][1] is None else len(rows[0][1]), dimension)
            break
        self.delete([passage.document_id for passage in passages])
        for number, passage in enumerate(passages):
            row = (passage, None if vectors is None else vectors[number])
            self._written.setdefault(passage.document_id, []).append(row)

    def delete(self, document_ids: Sequence[str]) -> None:
        for document_id in document_ids:
            self._written.pop(document_id, None)

    def commit(self) -> None:
        self._committed = _Snapshot(
            [row for document_id in sorted(self._written) for row in self._written[document_id]]
        )

    def documents(self) -> dict[str, str]:
        return {document_id: rows[0][0].digest for document_id, rows in self._written.items()}

    def passages(self, document_ids: Sequence[str]) -> list[Passage]:
        wanted = set(document_ids)
        found = [passage for passage in self._seen.passages if passage.document_id in wanted]
        return sorted(found, key=lambda passage: (passage.document_id, passage.ordinal))

    def search(self, requests: Sequence[Request]) -> list[list[Hit]]:
        return [self._seen.search(request) for request in requests]


class _Snapshot:
    """What one commit made visible, with its postings: word -> passage numbers and their shares of the BM25 score."""

    def __init__(self, rows: Sequence[tuple[Passage, np.ndarray | None]]) -> None:
        import numpy as np

        self.passages = [passage for passage, _ in rows]
        self.digests = {passage.document_id: passage.digest for passage in self.passages}
        self._vectors = np.asarray([vector for _, vector in rows]) if rows and rows[0][1] is not None else None
        counts = [Counter(words(passage.search_text)) for passage in self.passages]
        lengths = [count.total() for count in counts]
        mean = sum(lengths) / max(1, len(lengths))
        postings: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            norm = K1 * (1 - B + B * length / mean) if mean else 1.0
            for word, times in count.items():
                postings[word].append((number, times * (K1 + 1) / (times + norm)))
        self._postings = {}
        for word, listed in postings.items():
            idf = math.log(1 + (len(rows) - len(listed) + 0.5) / (len(listed) + 0.5))
            self._postings[word] = np.array([n for n, _ in listed]), idf * np.array([weight for _, weight in listed])

    def search(self, request: Request) -> list[Hit]:
        import numpy as np

        scores = self._knn(request.vector) if request.vector is not None else self._bm25(request.text or "")
        matches = _matcher(request.level, request.filter)
        numbers = [n for n in np.flatnonzero(scores > -np.inf).tolist() if matches(self.passages[n])]
        if len(numbers) > request.k:  # what ties with the last one stays in, the ids decide
            least = np.partition(scores[numbers], -request.k)[-request.k]
            numbers = [n for n in numbers if scores[n] >= least]
        best = sorted((-float(scores[n]), self.passages[n].id, n) for n in numbers)[: request.k]
        return [Hit(self.passages[n], -score, rank) for rank, (score, _, n) in enumerate(best, start=1)]

    def _bm25(self, text: str) -> np.ndarray:
        """Scores of all passages, minus infinity where no word is shared."""
        import numpy as np

        scores = np.zeros(len(self.passages))
        for word, times in sorted(Counter(words(text)).items()):
            if word in self._postings:
                numbers, weights = self._postings[word]
                scores[numbers] += times * weights
        return np.where(scores > 0, scores, -np.inf)

    def _knn(self, vector: Sequence[float]) -> np.ndarray:
        import numpy as np

        if not self.passages:
            return np.zeros(0)
        require_dimension("memory", None if self._vectors is None else self._vectors.shape[1], len(vector))
        return (np.asarray(self._vectors) @ np.asarray(vector, dtype=np.float32)).astype(np.float64)


def words(text: str) -> list[str]:
    """Lower-case words without the plural's s (Harman 1991, "How effective is suffixing?")."""
    return [_singular(word) for word in _WORD.findall(text.casefold())]


def _singular(word: str) -> str:
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def _matcher(level: str, filter: Filter) -> Callable[[Passage], bool]:
    allowed: Mapping[str, set[str]] = {
        field: {value} if isinstance(value, str) else set(value) for field, value in filter.items()
    }
    return lambda passage: (
        passage.level == level and all(passage.metadata.get(field) in values for field, values in allowed.items())
    )
