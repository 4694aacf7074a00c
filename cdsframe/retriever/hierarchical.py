"""Retrievers that weigh a passage by what surrounds it: its document, its section, its title.

Surroundings are evidence, never a gate: what the flat searches found is ranked, all of it and nothing else. Do not
merge or widen passages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, cast

from pydantic import Field

from cdsframe.contracts import Embedder, Index
from cdsframe.retriever.base import Leg
from cdsframe.retriever.flat import Fusion, Hybrid, TopK, Vectors, Words, leg_name
from cdsframe.types import Hit, Level, Part, Passage

log = logging.getLogger(__name__)

Weight = Annotated[float, Field(ge=0)]

_FLAT = ("bm25", "knn")

_OF: dict[Level, Callable[[Passage], object]] = {
    "document": lambda p: p.document_id,
    "section": lambda p: (p.document_id, p.section_id),
    "title": lambda p: (p.document_id, p.title, p.heading),
}
"""Level -> what a passage and its record of that level have in common."""


class _Levelled(Hybrid):
    """A hybrid with a weight for each level."""

    _levels: Mapping[Level, float]

    @property
    def weights(self) -> dict[str, float]:
        return super().weights | {f"retriever.weights.{level}": weight for level, weight in self._levels.items()}

    def weighted(self, weights: Mapping[str, float]) -> _Levelled:
        other = cast(_Levelled, super().weighted(weights))
        other._levels = {level: weights[f"retriever.weights.{level}"] for level in self._levels}
        return other


class Hierarchical(_Levelled):
    """Words and vectors of passages, and of the documents, titles and sections that they belong to, in one search.

    With z a leg's normalised score, p a passage, d its document's record and t its title's,
    `score(p) = z_bm25(p) + z_knn(p) + w_d [z_bm25(d) + z_knn(d)] + w_t [z_bm25(t) + z_knn(t)]`, over the union of the
    two flat lists; a section leg likewise. A record that a leg did not find counts as the leg's last one. A level of
    which a query finds too few records to normalise (fewer than ten under `zscore`: small indexes, narrow filters) says
    nothing. Over an index whose documents are one passage each it is the flat hybrid, and says so once.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
        num_candidates: how many each leg asks the index for, whatever `top_k` is.
        weights: level -> factor of its evidence; 0 leaves it out and saves its two searches.
        index: what is searched, made with these levels (`chunking.levels`).
        embedder: the one that the index was made with.
        fusion: normalises the scores of each list.
    """

    def __init__(
        self,
        top_k: TopK,
        num_candidates: TopK,
        weights: dict[Literal["document", "title", "section"], Weight],
        index: Index,
        embedder: Embedder,
        fusion: Fusion,
    ) -> None:
        super().__init__(top_k, num_candidates, index, embedder, fusion)
        self._levels = cast(Mapping[Level, float], weights)
        self._said_flat = False

    def _legs(self) -> Sequence[Leg]:
        there = self._index.levels
        levels: list[Level] = ["passage"]
        if 0 < there.get("document", 0) < there.get("passage", 0):
            levels += [level for level, weight in self._levels.items() if weight > 0 and level in there]
        elif not self._said_flat:
            self._said_flat = True
            log.warning(
                "the index has no documents of several passages with records of their own (chunking.levels when it was "
                "ingested): retriever=hierarchical searches it as retriever=hybrid does"
            )
        k = self._num_candidates
        return [leg for level in levels for leg in (Words(k, level), Vectors(k, self._embedder, level))]

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
    """The records of one level that a query found, and what they say for a passage."""

    def __init__(self, level: Level, weight: float, lists: Mapping[str, Sequence[Hit]], fusion: Fusion) -> None:
        self._level, self._weight, self._of = level, weight, _OF[level]
        self._shares = fusion.shares(lists)
        self._found = {kind: {self._of(hit.passage): hit for hit in hits} for kind, hits in lists.items()}

    def evidence(self, passage: Passage) -> float:
        """Its record's weighted share of the passage's score."""
        key, total = self._of(passage), 0.0
        for kind, found in self._found.items():
            share, record = self._shares[kind], found.get(key)
            total += share.absent if record is None else share.of(record.passage.id)
        return self._weight * total

    def parts(self, passage: Passage) -> Iterator[tuple[str, Part]]:
        """What each leg said of its record, under the leg's name."""
        key = self._of(passage)
        for kind, found in self._found.items():
            if (record := found.get(key)) is not None:
                yield leg_name(kind, self._level), Part(record.rank, record.score)


class HierarchicalLight(_Levelled):
    """The flat hybrid, then for each passage the best fused score of its document's and of its section's passages.

    `score(p) = s(p) + w_d max s(document of p) + w_s max s(section of p)` over the flat hybrid's own hits: no further
    searches, and no records of other levels are needed.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
        num_candidates: how many each leg asks the index for, whatever `top_k` is.
        weights: level -> factor of the best score among its passages.
        index: what is searched.
        embedder: the one that the index was made with.
        fusion: joins the two lists.
    """

    def __init__(
        self,
        top_k: TopK,
        num_candidates: TopK,
        weights: dict[Literal["document", "section"], Weight],
        index: Index,
        embedder: Embedder,
        fusion: Fusion,
    ) -> None:
        super().__init__(top_k, num_candidates, index, embedder, fusion)
        self._levels = cast(Mapping[Level, float], weights)

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
