"""Selects the hits for the prompt: boosts, versions, duplicates, diversity, widening; each step is off by default.

Each step processes the previous step's output. Does not search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from cdsframe.context.extract import extract
from cdsframe.context.preference import Lineage, Versions, boosts, by_version
from cdsframe.context.redundancy import Similarity, distinct, diversify
from cdsframe.context.widen import widen
from cdsframe.contracts import Embedder, Index, Item
from cdsframe.types import Hit, LegScore

Boost = Annotated[float, Field(ge=-1, le=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Standard:
    """Runs the steps in order over the first `depth` hits; the other hits follow unchanged.

    The steps scale scores to [0, 1] over the first `depth` hits; `Hit.score` keeps the retriever's or reranker's score.

    Args:
        depth: number of hits, from the first, to select from; ignored while all steps below are off.
        kind_boost: metadata `kind` -> value added to the score.
        recency_boost: value added to the newest hit's score; decays with age; 0 for undated hits.
        half_life: half-life of the recency boost, in days.
        versions: `newest_first` moves a document's newer versions before older ones, `newest_only` removes a version
            if the hits contain a newer one, `as_ranked` does nothing.
        lineage: versions of one document have the same value of this metadata field; `title`: the same kind,
            department and title, without year and words such as "revised". Documents about a patient have no versions.
        near_duplicate: removes a hit that shares at least this fraction of three-word shingles with a better hit
            (Broder 1997); None: off.
        mmr_lambda: weight of relevance against similarity to earlier hits (maximal marginal relevance, Carbonell and
            Goldstein, SIGIR 1998); None: off.
        mmr_by: similarity by shared `words` or by `vectors`, which embeds `depth` passages per question.
        merge_share: if at least this fraction of a section's passages are hits, the best of them becomes the whole
            section, and the others are removed; None: off.
        neighbours: number of passages of the same section added on each side of a hit.
        widen_tokens: maximum length of a merged or widened passage, in the embedder's tokens.
        extract_tokens: each passage is cut to the consecutive sentences of at most this many tokens that have most of
            the question's words; None: off.
        placing: `ends` shows the best passages first and last, the others between (arXiv 2307.03172); `ranked` keeps
            the order.
        embedder: counts tokens and computes vectors.
        index: contains the neighbours of hits.
    """

    def __init__(
        self,
        depth: Annotated[int, Field(ge=1)],
        kind_boost: dict[str, Boost],
        recency_boost: Annotated[float, Field(ge=0, le=1)],
        half_life: Annotated[float, Field(gt=0)],
        versions: Versions,
        lineage: Lineage,
        near_duplicate: Fraction | None,
        mmr_lambda: Annotated[float, Field(ge=0, le=1)] | None,
        mmr_by: Similarity,
        merge_share: Fraction | None,
        neighbours: Annotated[int, Field(ge=0)],
        widen_tokens: Annotated[int, Field(ge=16)],
        extract_tokens: Annotated[int, Field(ge=16)] | None,
        placing: Literal["ranked", "ends"],
        embedder: Embedder,
        index: Index,
    ) -> None:
        self._kinds, self._recency, self._half_life = dict(kind_boost), recency_boost, half_life
        self._versions, self._lineage, self._near_duplicate = versions, lineage, near_duplicate
        self._lambda, self._by, self._extract_tokens = mmr_lambda, mmr_by, extract_tokens
        self._merge_share, self._neighbours, self._widen_tokens = merge_share, neighbours, widen_tokens
        self._placing, self._embedder, self._index = placing, embedder, index
        self._widening = merge_share is not None or neighbours > 0
        self._boosting = bool(kind_boost) or recency_boost > 0
        chooses = self._boosting or versions != "as_ranked" or near_duplicate is not None or mmr_lambda is not None
        self.depth = depth if chooses or self._widening else 0

    @staticmethod
    def problems(mmr_lambda: float | None, mmr_by: str) -> list[str]:
        """Returns the problems of the options: `mmr_by` must be `words` while `mmr_lambda` is None."""
        if mmr_lambda is None and mmr_by != "words":
            return [f"context.mmr_by={mmr_by} has no effect while context.mmr_lambda is null; set context.mmr_lambda"]
        return []

    def select(self, query: str, hits: Sequence[Hit], top_k: int) -> list[Hit]:
        chosen, others = list(hits[: self.depth]), list(hits[self.depth :])
        relevance = _stretched([hit.score for hit in chosen])
        if self._boosting:
            chosen, relevance = self._boosted(chosen, relevance)
        chosen, relevance = by_version(chosen, relevance, self._versions, self._lineage)
        if self._near_duplicate is not None:
            kept = distinct([hit.passage.text for hit in chosen], self._near_duplicate)
            chosen, relevance = [chosen[n] for n in kept], [relevance[n] for n in kept]
        if self._lambda is not None:
            texts = [hit.passage.search_text for hit in chosen]
            order = diversify(texts, relevance, self._lambda, self._by, self._embedder)
            chosen = [_with_part(chosen[n], "mmr", rank, worth) for rank, (n, worth) in enumerate(order, start=1)]
        if self._widening:
            chosen = widen(chosen, self._merge_share, self._neighbours, self._widen_tokens, self._index, self._embedder)
        found = [replace(hit, rank=rank) for rank, hit in enumerate([*chosen, *others][:top_k], start=1)]
        if self._extract_tokens is not None:
            return [extract(query, hit, self._extract_tokens, self._embedder) for hit in found]
        return found

    def order(self, items: Sequence[Item]) -> list[Item]:
        """With `ends`: first, third, fifth … and, from the back, the second, fourth …"""
        return [*items[::2], *items[1::2][::-1]] if self._placing == "ends" else list(items)

    def _boosted(self, hits: Sequence[Hit], relevance: Sequence[float]) -> tuple[list[Hit], list[float]]:
        """Hits sorted by boosted relevance; ties keep their order."""
        added = boosts([hit.passage.metadata for hit in hits], self._kinds, self._recency, self._half_life)
        worth = [own + more for own, more in zip(relevance, added, strict=True)]
        order = sorted(range(len(hits)), key=lambda n: -worth[n])
        boosted = [_with_part(hits[n], "boost", rank, worth[n]) for rank, n in enumerate(order, start=1)]
        return boosted, _stretched([worth[n] for n in order])


def _stretched(scores: Sequence[float]) -> list[float]:
    """Scaled to [0, 1]; all 1 if all scores are equal."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _with_part(hit: Hit, name: str, rank: int, score: float) -> Hit:
    parts: Mapping[str, LegScore] = {**hit.parts, name: LegScore(rank, score)}
    return replace(hit, parts=parts)
