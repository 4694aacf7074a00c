"""Joins the hits of several legs (words, vectors) into one list, client-side, over normalised scores or ranks.

Raw scores are never added: BM25's and a cosine's have nothing in common. Does not search.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Annotated

from pydantic import Field

from cdsframe.types import Hit, Part, Passage

Weights = dict[str, Annotated[float, Field(ge=0)]]
"""Leg -> what its share is multiplied by; 1 for a leg that is not named."""

_FEW_HITS = 10
"""A list shorter than this has no distribution to normalise by."""

_RANK_CONSTANT = 60


class Fusion(ABC):
    """Legs to one list: `fuse` sorts by score and id, and keeps each leg's rank and raw score in `Hit.parts`.

    Args:
        weights: leg -> factor of its share.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def fuse(self, legs: Mapping[str, Sequence[Hit]]) -> list[Hit]:
        """All passages that any leg found, best first."""
        passages: dict[str, Passage] = {}
        parts: dict[str, dict[str, Part]] = {}
        for leg, hits in legs.items():
            for hit in hits:
                passages.setdefault(hit.passage.id, hit.passage)
                parts.setdefault(hit.passage.id, {})[leg] = Part(hit.rank, hit.score)
        scores = dict.fromkeys(passages, 0.0)
        for leg, (shares, absent) in self._shares(legs).items():
            found = {hit.passage.id: share for hit, share in zip(legs[leg], shares, strict=True)}
            for id_ in scores:
                scores[id_] += self._weights.get(leg, 1.0) * found.get(id_, absent)
        order = sorted(scores, key=lambda id_: (-scores[id_], id_))
        return [Hit(passages[id_], scores[id_], rank, parts[id_]) for rank, id_ in enumerate(order, start=1)]

    @abstractmethod
    def _shares(self, legs: Mapping[str, Sequence[Hit]]) -> dict[str, tuple[list[float], float]]:
        """Leg -> the shares of its hits in order, and the share of a passage that it did not return."""


class ReciprocalRank(Fusion):
    """Reciprocal rank fusion, 1 / (rank_constant + rank) (Cormack, Clarke and Büttcher, SIGIR 2009).

    Args:
        rank_constant: how slowly a lower rank loses weight.
        weights: leg -> factor of its share.
    """

    def __init__(self, rank_constant: Annotated[int, Field(ge=1)], weights: Weights) -> None:
        super().__init__(weights)
        self._rank_constant = rank_constant

    def _shares(self, legs: Mapping[str, Sequence[Hit]]) -> dict[str, tuple[list[float], float]]:
        return {leg: ([1 / (self._rank_constant + hit.rank) for hit in hits], 0.0) for leg, hits in legs.items()}


class _Normalised(Fusion):
    """Scores are normalised within each leg's list; an absent passage counts as the leg's last hit."""

    @staticmethod
    @abstractmethod
    def _normalise(scores: list[float]) -> list[float]:
        """Not called for a list without hits or without spread: such a list says nothing, and counts 0."""

    def _shares(self, legs: Mapping[str, Sequence[Hit]]) -> dict[str, tuple[list[float], float]]:
        shares = {}
        for leg, hits in legs.items():
            scores = [hit.score for hit in hits]
            spread = bool(scores) and max(scores) > min(scores)
            normal = self._normalise(scores) if spread else [0.0] * len(scores)
            shares[leg] = normal, normal[-1] if normal else 0.0
        return shares


class ZScore(_Normalised):
    """Standard scores, (score - mean) / standard deviation over the leg's list (Montague and Aslam, CIKM 2001).

    Where a leg found fewer than ten passages (narrow filters, rare words) its mean says nothing: that query is fused by
    reciprocal ranks instead.
    """

    @staticmethod
    def _normalise(scores: list[float]) -> list[float]:
        mean, deviation = fmean(scores), pstdev(scores)
        return [(score - mean) / deviation for score in scores]

    def _shares(self, legs: Mapping[str, Sequence[Hit]]) -> dict[str, tuple[list[float], float]]:
        if any(0 < len(hits) < _FEW_HITS for hits in legs.values()):
            return ReciprocalRank(_RANK_CONSTANT, self._weights)._shares(legs)
        return super()._shares(legs)


class MinMax(_Normalised):
    """Scores stretched to [0, 1] within the leg's list."""

    @staticmethod
    def _normalise(scores: list[float]) -> list[float]:
        low, high = min(scores), max(scores)
        return [(score - low) / (high - low) for score in scores]


class ScoreOverTop(_Normalised):
    """Scores divided by the leg's best one; a list whose best is not positive counts 0."""

    @staticmethod
    def _normalise(scores: list[float]) -> list[float]:
        top = max(scores)
        return [score / top for score in scores] if top > 0 else [0.0] * len(scores)
