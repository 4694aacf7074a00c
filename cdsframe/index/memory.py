"""An index in memory: exact BM25 (Robertson and Zaragoza 2009) and brute-force kNN. Nothing is saved.

Used by tests, and by training to find distractors in a corpus that has no index.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.digests import digest, flatten
from cdsframe.contracts import Choose
from cdsframe.errors import ConfigError
from cdsframe.index.annotations import with_annotation
from cdsframe.index.identity import Identity, require_dimension, with_form
from cdsframe.index.keys import require_different
from cdsframe.index.ordinal_ranges import OrdinalRange, merged
from cdsframe.metadata import known_fields, require_known, require_stored
from cdsframe.text.search_form import MARKS, search_words
from cdsframe.types import Filters, Hit, JsonObject, Level, Passage, Request

if TYPE_CHECKING:
    import numpy as np

K1, B = 0.9, 0.4

_Row = tuple[Passage, "np.ndarray | None"]

_WORD = re.compile(rf"[\w{MARKS}]+")


class MemoryIndex:
    """Records and vectors in dictionaries. Searches see committed records only.

    Args:
        identity: the settings that determine the content, for the digest.
    """

    ephemeral = True

    def __init__(self, identity: Identity) -> None:
        self._identity = with_form(identity)
        self._known_fields = known_fields(self._identity)
        self._written: dict[str, list[_Row]] = {}
        self._committed: dict[str, list[_Row]] | None = None
        self._corpora: dict[str, str] = {}
        self._committed_corpora: dict[str, str] = {}
        self._adopting = ""
        self._snapshots: dict[Level, _Snapshot] = {}
        self._next: MemoryIndex | None = None
        self._notes: list[JsonObject] = []
        self._annotations: dict[str, JsonObject] = {}

    @property
    def digest(self) -> str | None:
        if self._committed is None:
            return None
        return digest(json.dumps(self._identity, sort_keys=True), *flatten(_digests(self._committed)))

    @property
    def levels(self) -> Mapping[Level, int]:
        return {level: len(snapshot.passages) for level, snapshot in self._snapshots.items()}

    @property
    def annotations(self) -> Mapping[str, JsonObject]:
        return dict(self._annotations)

    def annotate(self, key: str, value: JsonObject | None) -> None:
        self._annotations = with_annotation(self._annotations, key, value)

    @contextmanager
    def writer(self, wait: float = 0) -> Iterator[None]:
        """Needs no lock: only this process writes here."""
        yield

    def write(self, records: Sequence[Passage], vectors: np.ndarray | None, corpus: str = "") -> None:
        require_different(records)
        require_stored((record.metadata for record in records), self._known_fields)
        dimension = None if vectors is None else vectors.shape[1]
        for rows in self._written.values():
            require_dimension("memory", None if rows[0][1] is None else len(rows[0][1]), dimension)
            break
        self.delete([record.document_id for record in records])
        for number, record in enumerate(records):
            row = (record, None if vectors is None else vectors[number])
            self._written.setdefault(record.document_id, []).append(row)
            self._corpora[record.document_id] = corpus

    def delete(self, document_ids: Sequence[str]) -> None:
        for document_id in document_ids:
            self._written.pop(document_id, None)
            self._corpora.pop(document_id, None)

    def adopt(self, corpus: str) -> None:
        self._adopting = corpus

    def commit(self, *, optimize: bool = False) -> None:
        if self._adopting:
            self._corpora = {id_: name or self._adopting for id_, name in self._corpora.items()}
        self._adopting = ""
        levels: dict[Level, list[_Row]] = {}
        for document_id in sorted(self._written):
            for row in self._written[document_id]:
                levels.setdefault(row[0].level, []).append(row)
        self._snapshots = {level: _Snapshot(rows) for level, rows in levels.items()}
        self._committed, self._committed_corpora = dict(self._written), dict(self._corpora)

    def discard(self) -> None:
        self._written, self._corpora = dict(self._committed or {}), dict(self._committed_corpora)
        self._adopting = ""

    @contextmanager
    def rebuild(self, shard: int = 0, num_shards: int = 1) -> Iterator[MemoryIndex]:
        if num_shards > 1:
            raise ConfigError(
                "index=memory exists in one process, so ingestion.num_shards must be 1; use index=elasticsearch for "
                "several shards"
            )
        self._next = self._next or MemoryIndex(self._identity)
        yield self._next
        if self._next._committed is not None:
            self._written, self._committed = self._next._written, self._next._committed
            self._corpora, self._committed_corpora = self._next._corpora, self._next._committed_corpora
            self._snapshots, self._next, self._notes = self._next._snapshots, None, []

    @property
    def rebuilding(self) -> bool:
        return self._next is not None

    def note(self, change: Mapping[str, Any]) -> None:
        self._notes.append(dict(change))

    def noted(self) -> list[JsonObject]:
        return list(self._notes)

    def abandon(self) -> None:
        self._next, self._notes = None, []

    def purge(self, document_ids: Sequence[str]) -> None:
        self.delete(document_ids)
        self.commit()

    def documents(self, *, committed: bool = False) -> dict[str, str]:
        return _digests(self._committed or {} if committed else self._written)

    @property
    def corpora(self) -> Mapping[str, int]:
        return dict(sorted(Counter(self._committed_corpora.values()).items()))

    def owned(
        self, document_ids: Sequence[str] | None = None, *, committed: bool = False
    ) -> dict[str, tuple[str, str]]:
        corpora = self._committed_corpora if committed else self._corpora
        digests = self.documents(committed=committed)
        wanted = digests if document_ids is None else digests.keys() & set(document_ids)
        return {id_: (digests[id_], corpora[id_]) for id_ in wanted}

    def holds(self, filter: Filters) -> bool:
        require_known(filter, self._known_fields)
        return any(map(_matcher(filter), self._passages()))

    def values(self, field: str, filter: Filters, limit: int) -> list[str]:
        require_known([field, *filter], self._known_fields)
        matches = _matcher(filter)
        found = (record.metadata.get(field) for record in self._passages() if matches(record))
        counts = Counter(value for value in found if value is not None)
        return sorted(counts, key=lambda value: (-counts[value], value))[:limit]

    def _passages(self) -> list[Passage]:
        """The committed passages."""
        self._require_content()
        snapshot = self._snapshots.get("passage")
        return snapshot.passages if snapshot else []

    def passages(self, document_ids: Sequence[str], level: Level = "passage") -> list[Passage]:
        rows = [row for id_ in dict.fromkeys(document_ids) for row in self._require_content().get(id_, ())]
        found = [record for record, _ in rows if record.level == level]
        return sorted(found, key=lambda passage: (passage.document_id, passage.ordinal))

    def between(self, ranges: Sequence[OrdinalRange]) -> list[Passage]:
        return [
            passage
            for document_id, first, last in merged(ranges)
            for passage in self.passages([document_id])
            if first <= passage.ordinal <= last
        ]

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        self._require_content()
        for request in requests:
            require_known(request.filter, self._known_fields)
        snapshots = [self._snapshots.get(request.level) for request in requests]
        found = [
            snapshot.search(request) if snapshot else [] for request, snapshot in zip(requests, snapshots, strict=True)
        ]
        if choose is None:
            return found
        whole = {hit.passage.key: hit.passage for hits in found for hit in hits}
        chosen = choose([[replace(hit, passage=hit.passage.without_text) for hit in hits] for hits in found])
        return [[replace(hit, passage=whole[hit.passage.key]) for hit in hits] for hits in chosen]

    def _require_content(self) -> dict[str, list[_Row]]:
        if self._committed is None:
            raise ConfigError("index=memory is empty and exists in one process only; use index=lance and run ingest.py")
        return self._committed


def _digests(written: Mapping[str, list[_Row]]) -> dict[str, str]:
    return {document_id: rows[0][0].digest for document_id, rows in written.items()}


class _Snapshot:
    """The committed records of one level with their BM25 postings.

    Postings: word -> numbers of the records, and the word's contributions to their BM25 scores.
    """

    def __init__(self, rows: Sequence[tuple[Passage, np.ndarray | None]]) -> None:
        import numpy as np

        self.passages = [passage for passage, _ in rows]
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
        matches = _matcher(request.filter)
        numbers = [n for n in np.flatnonzero(scores > -np.inf).tolist() if matches(self.passages[n])]
        if len(numbers) > request.k:  # drops scores below the k-th; hits that tie with it are sorted by id below
            least = np.partition(scores[numbers], -request.k)[-request.k]
            numbers = [n for n in numbers if scores[n] >= least]
        best = sorted((-float(scores[n]), self.passages[n].id, n) for n in numbers)[: request.k]
        return [Hit(self.passages[n], -score, rank) for rank, (score, _, n) in enumerate(best, start=1)]

    def _bm25(self, text: str) -> np.ndarray:
        """BM25 scores of all records of the level; minus infinity for a record that contains no word of the text."""
        import numpy as np

        scores = np.zeros(len(self.passages))
        for word, times in sorted(Counter(words(text, question=True)).items()):
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


def words(text: str, *, question: bool = False) -> list[str]:
    """Lower-case words without the plural's s (Harman 1991, "How effective is suffixing?")."""
    return [_singular(word) for word in _WORD.findall(search_words(text, question=question).casefold())]


def _singular(word: str) -> str:
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def _matcher(filter: Filters) -> Callable[[Passage], bool]:
    allowed: Mapping[str, set[str]] = {
        field: {value} if isinstance(value, str) else set(value) for field, value in filter.items()
    }
    return lambda passage: all(passage.metadata.get(field) in values for field, values in allowed.items())
