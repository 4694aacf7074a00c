"""Drops a rebuild that was killed and shall not be gone on with. Does not touch the index that is read."""

from __future__ import annotations

from dataclasses import dataclass

from cdsframe.contracts import Index
from cdsframe.types import Metrics


@dataclass(frozen=True)
class Abandoned:
    """Whether there was a rebuild to drop."""

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
        return "the rebuild that had begun is dropped" if self.dropped else "no rebuild had begun: nothing to drop"


def abandon(index: Index) -> Abandoned:
    """Removes what a rebuild has written, and what was noted for it. Raises InputError where one is under way."""
    begun = index.rebuilding
    if begun:
        index.abandon()
    return Abandoned(begun)
