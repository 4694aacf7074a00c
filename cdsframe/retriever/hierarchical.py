"""Retrievers that add scores of a passage's document, section and title to its own score.

They rank exactly the passages that BM25 and kNN over passages found: the other levels change only the scores. They do
not merge or widen passages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from cdsframe.contracts import Embedder, Fusion, Index
from cdsframe.retriever.base import Leg
from cdsframe.retriever.flat import Bm25Leg, Hybrid, KnnLeg, TopK, leg_name
from cdsframe.types import Hit, LegScore, Level, Passage

log = logging.getLogger(__name__)

Weight = Annotated[float, Field(ge=0)]

_FLAT = ("bm25", "knn")

_OF: dict[Level, Callable[[Passage], object]] = {
    "document": lambda p: p.document_id,
    "section": lambda p: (p.document_id, p.section_id),
    "title": lambda p: (p.document_id, p.title, p.heading),
}
"""Level -> key shared by a passage and its record of that level."""


class _Levelled(Hybrid):
    """A hybrid with a weight per level."""

    _defaults: ClassVar[Mapping[Level, float]]
    """Weights of levels whose weight is neither configured nor stored with the index."""

    def _set_levels(self, weights: Mapping[Any, float | None]) -> None:
        """Sets the levels' weights; None: not configured."""
        self._levels: dict[Level, float] = {
            level: self._defaults[level] if weight is None else weight for level, weight in weights.items()
        }
        self._levels_configured = any(weight is not None for weight in weights.values())

    @property
    def weights_configured(self) -> bool:
        return super().weights_configured or self._levels_configured

    def _own_weights(self) -> dict[str, float]:
        return super()._own_weights() | {f"retriever.weights.{level}": weight for level, weight in self._levels.items()}

    def weighted(self, weights: Mapping[str, float]) -> _Levelled:
        other = cast(_Levelled, super().weighted(weights))
        other._set_levels({level: weights[f"retriever.weights.{level}"] for level in self._levels})
        return other


class Hierarchical(_Levelled):
    """BM25 and kNN over passages and over the records of their documents, titles and sections, in one search.

    With z a leg's normalised score, p a passage, d its document's record and t its title's record, `score(p) =
    z_bm25(p) + z_knn(p) + w_d [z_bm25(d) + z_knn(d)] + w_t [z_bm25(t) + z_knn(t)]`, over the union of the two
    passage lists; sections add a term like that of documents. A record that a leg did not find scores as the leg's last
    hit (under `rrf` 0). A level adds 0 for a query that finds too few of its records to normalise their scores (fewer
    than ten under `zscore`: small indexes, narrow filters). If the index has no document records or one passage per
    document, this retriever equals `Hybrid` and logs a warning once.

    Args:
        top_k: number of passages returned unless a search asks for another number.
        num_candidates: number of hits that each leg requests from the index; at least `top_k`.
        weights: level -> weight of its scores; 0 omits the level and its two searches. None: the stored weight, else
            .5 for documents and titles, 0 for sections.
        index: the index to search, built with these levels (`chunking.levels`).
        embedder: the embedder that the index was built with.
        fusion: normalises the scores of each list.
    """

    _defaults: ClassVar[Mapping[Level, float]] = {"document": 0.5, "title": 0.5, "section": 0.0}

    def __init__(
        self,
        top_k: TopK,
        num_candidates: TopK,
        weights: dict[Literal["document", "title", "section"], Weight | None],
        index: Index,
        embedder: Embedder,
        fusion: Fusion,
    ) -> None:
        super().__init__(top_k, num_candidates, index, embedder, fusion)
        self._set_levels(weights)
        self._warned_flat = False

    def _legs(self) -> Sequence[Leg]:
        counts = self._index.levels
        levels: list[Level] = ["passage"]
        if 0 < counts.get("document", 0) < counts.get("passage", 0):
            levels += [level for level, weight in self._levels.items() if weight > 0 and level in counts]
        elif not self._warned_flat:
            self._warned_flat = True
            log.warning(
                "retriever=hierarchical searches like retriever=hybrid: the index has no document records, or one "
                "passage per document; for document records, ingest again with chunking.levels=[document,title]"
            )
        k = self._num_candidates
        return [leg for level in levels for leg in (Bm25Leg(k, level), KnnLeg(k, self._embedder, level))]

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        flat = {leg: legs[leg] for leg in _FLAT}
        fusion, scores = self._fusion.suited(flat), self._fusion.scores(flat)
        around = [
            _Surroundings(level, weight, lists, fusion)
            for level, weight in self._levels.items()
            if weight > 0
            and (lists := {kind: legs[name] for kind in _FLAT if (name := leg_name(kind, level)) in legs})
            and fusion.suited(lists) is fusion
        ]
        for passage in {hit.passage.id: hit.passage for hits in flat.values() for hit in hits}.values():
            scores[passage.id] += sum(level.evidence(passage) for level in around)
        hits = fusion.ranked(flat, scores)
        return [
            replace(hit, parts={**hit.parts, **dict(p for level in around for p in level.parts(hit.passage))})
            for hit in hits
        ]


class _Surroundings:
    """The records of one level that a query found, and what they add to the scores of passages."""

    def __init__(self, level: Level, weight: float, lists: Mapping[str, Sequence[Hit]], fusion: Fusion) -> None:
        self._level, self._weight, self._of = level, weight, _OF[level]
        self._shares = fusion.shares(lists)
        self._found = {kind: {self._of(hit.passage): hit for hit in hits} for kind, hits in lists.items()}

    def evidence(self, passage: Passage) -> float:
        """What the passage's record of this level adds to the passage's score."""
        key, total = self._of(passage), 0.0
        for kind, found in self._found.items():
            share, record = self._shares[kind], found.get(key)
            total += share.absent if record is None else share.of(record.passage.id)
        return self._weight * total

    def parts(self, passage: Passage) -> Iterator[tuple[str, LegScore]]:
        """Yields (leg name, rank and score) for each leg that found the passage's record."""
        key = self._of(passage)
        for kind, found in self._found.items():
            if (record := found.get(key)) is not None:
                yield leg_name(kind, self._level), LegScore(record.rank, record.score)


class HierarchicalLight(_Levelled):
    """`Hybrid` plus, for each passage, the best fused scores within its document and its section.

    `score(p) = s(p) + w_d max s(document of p) + w_s max s(section of p)` over the hits of `Hybrid`. Needs no further
    searches and no records of other levels.

    Args:
        top_k: number of passages returned unless a search asks for another number.
        num_candidates: number of hits that each leg requests from the index; at least `top_k`.
        weights: level -> weight of the best score in the passage's document or section; >= 0. None: the stored weight,
            else .5.
        index: the index to search.
        embedder: the embedder that the index was built with.
        fusion: joins the two lists.
    """

    _defaults: ClassVar[Mapping[Level, float]] = {"document": 0.5, "section": 0.5}

    def __init__(
        self,
        top_k: TopK,
        num_candidates: TopK,
        weights: dict[Literal["document", "section"], Weight | None],
        index: Index,
        embedder: Embedder,
        fusion: Fusion,
    ) -> None:
        super().__init__(top_k, num_candidates, index, embedder, fusion)
        self._set_levels(weights)

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        flat = self._fusion.scores(legs)
        passages = {hit.passage.id: hit.passage for hits in legs.values() for hit in hits}
        scores = dict(flat)
        for level, weight in self._levels.items():
            of, best = _OF[level], dict[object, float]()
            for id, passage in passages.items():
                key = of(passage)
                best[key] = max(flat[id], best.get(key, flat[id]))
            for id, passage in passages.items():
                scores[id] += weight * best[of(passage)]
        return self._fusion.ranked(legs, scores)
