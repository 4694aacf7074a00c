"""Samples training questions of several sources by weights and caps, balanced over types or topics.

Deterministic for a seed. Does not remove copies (see `cdsframe.data.duplicates`).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from cdsframe.types import Question

Balance = Literal["none", "type", "topic"]


def shares(
    available: Mapping[str, int], weights: Mapping[str, float], caps: Mapping[str, int], limit: int | None
) -> dict[str, int]:
    """Returns the number of questions to take from each source: at most its cap; in proportion to weights if given.

    The total is at most `limit`. No question is taken twice, so a source too small for its weight reduces the others.
    """
    most = {name: min(count, caps.get(name, count)) for name, count in available.items()}
    parts = dict(weights) or {name: float(count) for name, count in most.items()}
    whole = sum(parts[name] for name in most)
    if not whole:
        return dict.fromkeys(most, 0)
    total = min(most[name] * whole / parts[name] for name in most if parts[name])
    total = min(total, limit) if limit else total
    taken, before, passed = {}, 0, 0.0
    for name in most:  # rounds cumulative sums, so that the rounded shares have the right total
        passed += total * parts[name] / whole
        taken[name], before = min(round(passed) - before, most[name]), round(passed)
    return taken


def draw(
    questions: Sequence[Question], count: int, balance: Balance, group_limit: int | None, seed: int
) -> list[Question]:
    """Samples `count` questions, keeping their order, with numbers per group as equal as the groups allow.

    Args:
        balance: groups questions by `type` or by `topic` (by page if a question has no topic); `none`: one group.
        group_limit: maximum per group; fewer than `count` questions may result. None: no limit.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        key = {"none": "", "type": question.type, "topic": question.topic or question.group}[balance]
        groups[key].append(place)
    shuffled = {key: random.Random(f"{seed}|{key}").sample(own, len(own)) for key, own in groups.items()}
    # Each round takes one question per group; in the last, incomplete round, groups are sampled.
    order = [
        (turn, random.Random(f"{seed}|{turn}|{key}").random(), own[turn])
        for key, own in shuffled.items()
        for turn in range(min(len(own), group_limit or len(own)))
    ]
    chosen = {place for _, _, place in sorted(order)[:count]}
    return [question for place, question in enumerate(questions) if place in chosen]
