"""How the cost of a computation grows with its input: CPU seconds of one machine say little about another."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time


def growth(compute: Callable[[int], object], size: int, factor: int = 4) -> float:
    """The cost at `factor * size` divided by the cost at `size`: about `factor` if linear, its square if quadratic.

    Each cost is the least of three runs, so that other work on the machine hardly counts.
    """

    def cost(of: int) -> float:
        seconds = []
        for _ in range(3):
            started = process_time()
            compute(of)
            seconds.append(process_time() - started)
        return min(seconds)

    cost(size)  # the first run also fills caches
    return cost(factor * size) / max(cost(size), 1e-3)
