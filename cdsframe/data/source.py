"""What every data set gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cdsframe.types import Question


class Source(Protocol):
    """Questions in splits."""

    @property
    def scope(self) -> str:
        """Whom the data is about: an adapter's manifest keeps it."""

    @property
    def removed(self) -> Mapping[str, Mapping[str, int]]:
        """Split -> rule -> how many questions it took out (or changed), of the splits that were read."""

    def questions(self, split: str) -> list[Question]:
        """The questions of `train`, `validation` or `test`. Raises EmptySplitError where there are none."""
