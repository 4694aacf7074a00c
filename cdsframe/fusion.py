"""Joins the hits of several legs (words, vectors) into one list, client-side, over normalised scores or ranks.

Raw scores are never added: BM25's and a cosine's have nothing in common. Does not search.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Annotated, Any

from pydantic import Field

from cdsframe.types import Hit, LegScore, Passage

Weights = dict[str, Annotated[float, Field(ge=0)] | None]
"""Leg -> factor of its normalised scores. None, or a leg that is not named: not configured, which counts as 1."""

_FEW_HITS = 10
"""A list shorter than this has no distribution to normalise by."""

_RANK_CONSTANT = 60


@dataclass(frozen=True, slots=True)
class Shares:
    """What one leg adds to fused scores: `found` (id -> value), and `absent` for a record that it did not find."""

    found: Mapping[str, float]
    absent: float

    def of(self, id: str) -> float:
        return self.found.get(id, self.absent)


class Fusion(ABC):
    """Joins legs to one list. `fuse` sorts by fused score and id; `Hit.parts` keeps each leg's rank and raw score.

    Args:
        weights: leg -> factor of its normalised scores; without any configured weight, a retriever uses the weights
            that `evaluation=tune` stored with its index, if there are any.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights: Mapping[str, float] = {leg: weight for leg, weight in weights.items() if weight is not None}

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings besides the weights. Weights that were fitted with other settings are not used."""
        return {}

    def weighted(self, weights: Mapping[str, float]) -> Fusion:
        """The same fusion with other weights."""
        other = copy(self)
        other.weights = weights
        return other

    def fuse(self, legs: Mapping[str, Sequence[Hit]]) -> list[Hit]:
        """All passages that any leg found, best first."""
        return self.ranked(legs, self.scores(legs))

    def scores(self, legs: Mapping[str, Sequence[Hit]]) -> dict[str, float]:
        """Id -> fused score, of all passages that any leg found."""
        shares = list(self.suited(legs).shares(legs).values())
        ids = {hit.passage.id for hits in legs.values() for hit in hits}
        return {id: sum(share.of(id) for share in shares) for id in ids}

    @staticmethod
    def ranked(legs: Mapping[str, Sequence[Hit]], scores: Mapping[str, float]) -> list[Hit]:
        """The legs' passages, sorted by these scores and by id, with each leg's rank and score in `Hit.parts`."""
        passages: dict[str, Passage] = {}
        parts: dict[str, dict[str, LegScore]] = {}
        for leg, hits in legs.items():
            for hit in hits:
                passages[hit.passage.id] = hit.passage
                parts.setdefault(hit.passage.id, {})[leg] = LegScore(hit.rank, hit.score)
        order = sorted(passages, key=lambda id: (-scores[id], id))
        return [Hit(passages[id], scores[id], rank, parts[id]) for rank, id in enumerate(order, start=1)]

    def suited(self, legs: Mapping[str, Sequence[Hit]]) -> Fusion:
        """The fusion to use for these lists: this one, or another one if a list is too short for it."""
        return self

    def shares(self, legs: Mapping[str, Sequence[Hit]]) -> dict[str, Shares]:
        """Leg -> what it adds to the fused scores, its weight included."""
        shares = {}
        for leg, hits in legs.items():
            weight = self.weights.get(leg, 1.0)
            values, absent = self._normal(hits)
            found = {hit.passage.id: weight * value for hit, value in zip(hits, values, strict=True)}
            shares[leg] = Shares(found, weight * absent)
        return shares

    @abstractmethod
    def _normal(self, hits: Sequence[Hit]) -> tuple[list[float], float]:
        """Returns the normalised scores of a leg's hits, and the score of a passage that the leg did not return."""


class ReciprocalRank(Fusion):
    """Reciprocal rank fusion, 1 / (rank_constant + rank) (Cormack, Clarke and Büttcher, SIGIR 2009).

    Args:
        rank_constant: the larger, the more slowly lower ranks lose weight.
        weights: leg -> factor of its normalised scores.
    """

    def __init__(self, rank_constant: Annotated[int, Field(ge=1)], weights: Weights) -> None:
        super().__init__(weights)
        self._rank_constant = rank_constant

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"rank_constant": self._rank_constant}

    def _normal(self, hits: Sequence[Hit]) -> tuple[list[float], float]:
        return [1 / (self._rank_constant + hit.rank) for hit in hits], 0.0


class _Normalised(Fusion):
    """Scores are normalised within each leg's list; an absent passage counts as the leg's last hit."""

    @staticmethod
    @abstractmethod
    def _normalise(scores: list[float]) -> list[float]:
        """Returns the normalised scores. Not called for a list without hits or with equal scores: its hits count 0."""

    def _normal(self, hits: Sequence[Hit]) -> tuple[list[float], float]:
        scores = [hit.score for hit in hits]
        if not scores or max(scores) == min(scores):
            return [0.0] * len(scores), 0.0
        normal = self._normalise(scores)
        return normal, normal[-1]


class ZScore(_Normalised):
    """Standard scores, (score - mean) / standard deviation over the leg's list (Montague and Aslam, CIKM 2001).

    If a leg found one to nine passages (narrow filters, rare words), its mean says nothing: that query is fused by
    reciprocal ranks instead.
    """

    @staticmethod
    def _normalise(scores: list[float]) -> list[float]:
        mean, deviation = fmean(scores), pstdev(scores)
        return [(score - mean) / deviation for score in scores]

    def suited(self, legs: Mapping[str, Sequence[Hit]]) -> Fusion:
        if any(0 < len(hits) < _FEW_HITS for hits in legs.values()):
            return ReciprocalRank(_RANK_CONSTANT, dict(self.weights))
        return self


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
