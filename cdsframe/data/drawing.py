"""Which training questions of several sources are taken: by weights and caps, balanced over types or topics.

Always the same for the same seed. Removes no copies (see `cdsframe.data.duplicates`).
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
    """How many of each source: its cap or all it has; with weights as many as keep their proportion; at most `limit`.

    Nothing is taken twice: the source that is too small for its weight makes the others smaller.
    """
    most = {name: min(count, caps.get(name, count)) for name, count in available.items()}
    parts = dict(weights) or {name: float(count) for name, count in most.items()}
    whole = sum(parts[name] for name in most)
    if not whole:
        return dict.fromkeys(most, 0)
    total = min(most[name] * whole / parts[name] for name in most if parts[name])
    total = min(total, limit) if limit else total
    taken, before, passed = {}, 0, 0.0
    for name in most:  # rounded so that the sum is right too
        passed += total * parts[name] / whole
        taken[name], before = min(round(passed) - before, most[name]), round(passed)
    return taken


def draw(
    questions: Sequence[Question], count: int, balance: Balance, group_limit: int | None, seed: int
) -> list[Question]:
    """`count` of the questions, in their order: as equal a number of each group as the groups allow.

    Args:
        balance: what makes a group: the question's type, its topic (its page, where it has none), nothing.
        group_limit: at most so many of a group, though `count` then cannot be reached.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        key = {"none": "", "type": question.type, "topic": question.topic or question.group}[balance]
        groups[key].append(place)
    shuffled = {key: random.Random(f"{seed}|{key}").sample(own, len(own)) for key, own in groups.items()}
    # Round after round one of each group; the last round, which not all can be in, is drawn.
    order = [
        (turn, random.Random(f"{seed}|{turn}|{key}").random(), own[turn])
        for key, own in shuffled.items()
        for turn in range(min(len(own), group_limit or len(own)))
    ]
    chosen = {place for _, _, place in sorted(order)[:count]}
    return [question for place, question in enumerate(questions) if place in chosen]
