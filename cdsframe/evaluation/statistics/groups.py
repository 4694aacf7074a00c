"""Sums over groups of questions. Does not decide which questions belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def numbered(groups: Sequence[str]) -> np.ndarray:
    """The number of each question's group, `[questions]`; a question without a group gets a unique number."""
    import numpy as np

    places: dict[object, int] = {}
    return np.array([places.setdefault(group or number, len(places)) for number, group in enumerate(groups)], dtype=int)


def sums(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The sum of the values `[questions, …]` of each group, `[groups, …]`."""
    import numpy as np

    found = np.zeros((int(numbers.max()) + 1, *values.shape[1:]))
    np.add.at(found, numbers, values)
    return found
