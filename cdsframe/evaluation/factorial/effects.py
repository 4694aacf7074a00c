"""Main effects and interactions of a factorial design, as contrasts per question.

An effect is a weighted sum of the combinations' scores on the same question (treatment coding: each level against the
factor's baseline; the other factors' levels count equally: average marginal effects). The main effect of a level is
the mean of the differences that it makes. An interaction is a difference of differences: what two levels together add
to the sum of what each adds to the baselines (Montgomery, "Design and Analysis of Experiments", ch. 5 and 6, where it
is divided by 2, and that of three factors by 4). Does not choose the questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING

from cdsframe.evaluation.contrasts import LEVEL
from cdsframe.evaluation.factorial.design import Cell, Design, Factor
from cdsframe.evaluation.statistics import Difference, holm, paired_differences, seeds_contrast

if TYPE_CHECKING:
    import numpy as np

_THREE = 3
"""Number of factors, each with two levels, of which the interaction of all is an effect."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one factor from its baseline to another level."""

    factor: Factor
    level: str

    @property
    def key(self) -> str:
        """The change in metric keys."""
        return self.level if "=" in self.level else f"{self.factor.setting}={self.level}"

    @property
    def text(self) -> str:
        """The change in words, such as "fine-tuning (tuned instead of base)"."""
        prefix = f"{self.factor.setting}="
        return (
            f"{self.factor.name} ({self.level.removeprefix(prefix)} instead of "
            f"{self.factor.levels[0].removeprefix(prefix)})"
        )


@dataclass(frozen=True, slots=True)
class Contrast:
    """What one change makes, or several together beyond the sum of their own effects.

    Attributes:
        weights: combination -> weight of its score.
        without: levels of other factors at which the changes have no effect of their own; they are not averaged over.
    """

    changes: tuple[Change, ...]
    weights: Mapping[Cell, float]
    without: tuple[str, ...]

    @property
    def key(self) -> str:
        """The contrast in metric keys."""
        return "*".join(change.key for change in self.changes)

    @property
    def limit(self) -> float:
        """The largest possible absolute value, for scores from 0 to 1."""
        return 2.0 ** (len(self.changes) - 1)


@dataclass(frozen=True, slots=True)
class Effect:
    """A contrast with its estimate; `p_holm`: p after Holm's adjustment over the effects; None: exploratory."""

    contrast: Contrast
    estimate: Difference
    p_holm: float | None

    @property
    def significant(self) -> bool:
        """Whether the adjusted p is at most .05."""
        return self.p_holm is not None and self.p_holm <= LEVEL


def contrasts(design: Design) -> tuple[list[Contrast], list[tuple[Change, ...]]]:
    """All main effects, two-factor interactions, and that of three factors with two levels each.

    Returns also the changes without an interaction that could be estimated: one has no effect without the other (a
    reranker without retrieval), so the interaction would be the effect of the first.
    """
    found, inseparable = [], []
    for changes in _changes(design.factors):
        contrast = _contrast(design, changes)
        if contrast is None:
            inseparable.append(changes)
        else:
            found.append(contrast)
    return found, inseparable


def _changes(factors: Sequence[Factor]) -> Iterator[tuple[Change, ...]]:
    single = [[Change(factor, level) for level in factor.levels[1:]] for factor in factors]
    for one in single:
        yield from product(one)
    for pair in combinations(single, 2):
        yield from product(*pair)
    if len(factors) == _THREE and all(len(one) == 1 for one in single):
        yield from product(*single)


def _contrast(design: Design, changes: tuple[Change, ...]) -> Contrast | None:
    """The contrast, averaged over the other factors' combinations in which each change makes another system."""
    changed = {change.factor: change for change in changes}
    others = [factor for factor in design.factors if factor not in changed]
    kept: list[tuple[dict[Cell, float], tuple[str, ...]]] = []
    for rest in product(*(factor.levels for factor in others)):
        signs: dict[Cell, float] = {}
        for made in product((False, True), repeat=len(changes)):
            level = dict(zip(others, rest, strict=True))
            level |= {
                one.factor: one.level if on else one.factor.levels[0] for one, on in zip(changes, made, strict=True)
            }
            signs[tuple(level[factor] for factor in design.factors)] = prod(1.0 if on else -1.0 for on in made)
        if not any(_neighbours(*pair) and design.same(*pair) for pair in combinations(signs, 2)):
            kept.append((signs, rest))
    if not kept:
        return None
    weights = {cell: sign / len(kept) for signs, _ in kept for cell, sign in signs.items()}
    used = {(factor, level) for _, rest in kept for factor, level in zip(others, rest, strict=True)}
    without = tuple(level for factor in others for level in factor.levels if (factor, level) not in used)
    return Contrast(changes, weights, without)


def _neighbours(first: Cell, second: Cell) -> bool:
    return sum(a != b for a, b in zip(first, second, strict=True)) == 1


def estimate(
    found: Sequence[Contrast],
    scores: Mapping[Cell, np.ndarray],
    families: Sequence[Sequence[Cell]],
    groups: Sequence[str],
    adjusted: bool,
) -> list[Effect]:
    """Estimates and tests the contrasts.

    With one replicate of each combination the test flips signs over groups, and the result is of these adapters. With
    several, it allows for other seeds too (see `seeds_contrast`).

    Args:
        scores: combination -> `[replicates, questions]`.
        families: combinations with the same replicates, in the same order.
        groups: of each question.
        adjusted: whether the contrasts are primary; adjusts their p by Holm's method.
    """
    if any(len(one) > 1 for one in scores.values()):
        estimates = [seeds_contrast(_parts(one, scores, families), groups, one.limit) for one in found]
    else:
        estimates = _flipped(found, scores, groups)
    p_holm: list[float] | list[None] = holm([one.p for one in estimates]) if adjusted else [None] * len(estimates)
    return [Effect(*one) for one in zip(found, estimates, p_holm, strict=True)]


def _parts(
    contrast: Contrast, scores: Mapping[Cell, np.ndarray], families: Sequence[Sequence[Cell]]
) -> list[np.ndarray]:
    import numpy as np

    used = [[cell for cell in family if cell in contrast.weights] for family in families]
    return [np.sum([contrast.weights[cell] * scores[cell] for cell in family], axis=0) for family in used if family]


def _flipped(found: Sequence[Contrast], scores: Mapping[Cell, np.ndarray], groups: Sequence[str]) -> list[Difference]:
    import numpy as np

    changes = np.array([sum(weight * scores[cell][0] for cell, weight in one.weights.items()) for one in found]).T
    changes = np.where(np.abs(changes - changes.round()) < 1e-9, changes.round(), changes)  # -1, 0 and 1 stay exact
    estimates: dict[int, Difference] = {}
    for limit in sorted({one.limit for one in found}):
        places = [place for place, one in enumerate(found) if one.limit == limit]
        estimates |= dict(zip(places, paired_differences(changes[:, places], groups, limit), strict=True))
    return [estimates[place] for place in range(len(found))]
