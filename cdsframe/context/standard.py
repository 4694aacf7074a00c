"""Chooses the hits that a prompt is made of: boosts, versions, duplicates, diversity, width; each step off by default.

Every step sees what the step before it left. Does not search: what the retriever did not find is not here.
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
from cdsframe.types import Hit, Part

Boost = Annotated[float, Field(ge=-1, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class Standard:
    """The steps in their order, over the first `depth` hits; the others follow behind them as they are.

    Scores count as stretched to [0, 1] over the first `depth` hits; `Hit.score` stays what retriever or reranker gave.

    Args:
        depth: how many hits are chosen from, where anything below is switched on.
        kind_boost: metadata `kind` -> what is added to the score.
        recency_boost: what is added to the score of the newest hit; to older ones less, to undated ones nothing.
        half_life: by how many days a hit is older that gets half of it.
        versions: `newest_first` gives the places of a document's versions to the newest first, `newest_only` leaves out
            the superseded ones of which a newer one was found; `as_ranked` does nothing.
        lineage: what versions of a document have in common: a metadata field's value, or the title less year and
            "revised". Documents of a patient are never each other's versions.
        near_duplicate: share of three-word shingles in common from which on the lower hit is left out (Broder 1997).
        mmr_lambda: weight of the score against the likeness to hits before it (maximal marginal relevance, Carbonell
            and Goldstein, SIGIR 1998).
        mmr_by: likeness of `words` in common, or of `vectors`, which encodes `depth` passages a question.
        merge_share: share of a section's passages among the hits from which on they become the whole section.
        neighbours: how many passages of the same section are added before and after each hit.
        widen_tokens: a passage is not widened, by either, beyond so many tokens.
        extract_tokens: each passage is cut to its neighbouring sentences of at most so many tokens that have most of
            the question's words.
        placing: `ends` shows the best passages first and last, the others between (arXiv
            2307.03172); `ranked` does not.
        embedder: whose tokens and vectors count.
        index: where the neighbours of hits are.
    """

    def __init__(
        self,
        depth: Annotated[int, Field(ge=1)],
        kind_boost: dict[str, Boost],
        recency_boost: Annotated[float, Field(ge=0, le=1)],
        half_life: Annotated[float, Field(gt=0)],
        versions: Versions,
        lineage: Lineage,
        near_duplicate: Share | None,
        mmr_lambda: Annotated[float, Field(ge=0, le=1)] | None,
        mmr_by: Similarity,
        merge_share: Share | None,
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
        """Empty if what is set is used."""
        if mmr_lambda is None and mmr_by != "words":
            return [f"context.mmr_by={mmr_by} needs context.mmr_lambda, which is null"]
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
        """Where the best stand at both ends: the first, third, fifth … and, from the back, the second, fourth …"""
        return [*items[::2], *items[1::2][::-1]] if self._placing == "ends" else list(items)

    def _boosted(self, hits: Sequence[Hit], relevance: Sequence[float]) -> tuple[list[Hit], list[float]]:
        """Sorted by relevance and boosts, ties as they were."""
        added = boosts([hit.passage.metadata for hit in hits], self._kinds, self._recency, self._half_life)
        worth = [own + more for own, more in zip(relevance, added, strict=True)]
        order = sorted(range(len(hits)), key=lambda n: -worth[n])
        boosted = [_with_part(hits[n], "boost", rank, worth[n]) for rank, n in enumerate(order, start=1)]
        return boosted, _stretched([worth[n] for n in order])


def _stretched(scores: Sequence[float]) -> list[float]:
    """To [0, 1]; all 1 where there is no spread."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _with_part(hit: Hit, name: str, rank: int, score: float) -> Hit:
    parts: Mapping[str, Part] = {**hit.parts, name: Part(rank, score)}
    return replace(hit, parts=parts)
