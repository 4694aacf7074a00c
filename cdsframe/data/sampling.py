"""Draws proportional samples. Reads no data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from cdsframe.artifacts.digests import digest
from cdsframe.types import Question

Item = TypeVar("Item")


def proportional_sample(
    items: Sequence[Item], limit: int | None, seed: int, stratum: Callable[[Item], str]
) -> list[Item]:
    """Returns at most `limit` items, drawn from each stratum in proportion, in the order of `items`.

    Items drawn with a smaller limit are also drawn with a larger limit.
    The choice depends on a digest of the seed and the item's `id`, not on the order or number of items.
    """
    if limit is None or limit >= len(items):
        return list(items)
    members: dict[Hashable, list[Item]] = {}
    for item in sorted(items, key=lambda item: digest(str(seed), _id(item))):
        members.setdefault(stratum(item), []).append(item)
    # The i-th of n members is at quantile (i + 1/2) / n of its stratum. The items with the lowest quantiles, over all
    # strata, contain the same share of each stratum.
    placed = [
        ((place + 0.5) / len(own), digest(str(seed), _id(i)), i)
        for own in members.values()
        for place, i in enumerate(own)
    ]
    chosen = {_id(item) for _, _, item in sorted(placed, key=lambda entry: entry[:2])[:limit]}
    return [item for item in items if _id(item) in chosen]


def _id(item: Any) -> str:
    return str(item.id)


def by_type(question: Question) -> str:
    """Returns the stratum of a question: its type."""
    return question.type
