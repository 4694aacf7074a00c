"""Drops a killed rebuild that will not be resumed. Does not change the index that readers see."""

from __future__ import annotations

from dataclasses import dataclass

from cdsframe.contracts import Index
from cdsframe.types import Metrics


@dataclass(frozen=True)
class Abandoned:
    """Whether a rebuild was dropped."""

    dropped: bool
    failure = None

    @property
    def score(self) -> float:
        return float(self.dropped)

    @property
    def metrics(self) -> Metrics:
        return {"ingest/abandoned": float(self.dropped)}

    @property
    def text(self) -> str:
        return "dropped the unfinished rebuild" if self.dropped else "there is no unfinished rebuild to drop"


def abandon(index: Index) -> Abandoned:
    """Removes the data and recorded changes of an unfinished rebuild. Raises InputError if a process is working on
    it."""
    begun = index.rebuilding
    if begun:
        index.abandon()
    return Abandoned(begun)
