"""Takes out of an index of the engine what no search sees any more, so that BM25 does not count it.

Complete tidying waits and rewrites; with commits of single documents it goes on bit by bit, and waits for nothing.
Does not decide who may write: each step asks for the lease first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from cdsframe.index.elasticsearch import reading, writing
from cdsframe.index.elasticsearch.bulk import Bulk
from cdsframe.index.elasticsearch.connection import Connection
from cdsframe.index.elasticsearch.engine import Engine
from cdsframe.index.elasticsearch.layout import View
from cdsframe.index.elasticsearch.lease import Lease
from cdsframe.index.elasticsearch.ledger import State
from cdsframe.types import JsonObject

_SMALL = 50_000
"""Records up to which an index is rewritten for the sake of a single deleted one, so that BM25 does not count it."""

_TOO_MANY = 0.1
"""The share of deleted records above which a larger one is rewritten."""

RETAINED = 30.0
"""Seconds that the engine keeps deleted records at most, for nodes that come back; merges drop them afterwards."""


class _Commit(NamedTuple):
    """A commit of single documents: when it was seen by everybody (monotonic clock), where, and what it shows."""

    when: float
    physical: str | None
    view: View


class Tidying:
    """What one store does for it.

    Args:
        change: changes the state as its writer, and gives the new one; see `Store`.
    """

    def __init__(
        self,
        connection: Connection,
        engine: Engine,
        bulk: Bulk,
        lease: Lease,
        change: Callable[..., State],
    ) -> None:
        self._connection, self._engine, self._bulk = connection, engine, bulk
        self._lease, self._change = lease, change
        self._past: _Commit | None = None
        self._deleted: float | None = None
        self._merged: float | None = None

    # -------------------------------------------------------------------------------------------- complete

    def tidy(self, state: State) -> None:
        """Removes what no search sees, when those that began before the commit have ended."""
        if state.view is None:
            return
        physical = str(state.physical)
        if writing.number(self._connection, physical, state.view.dead):
            time.sleep(reading.GRACE)
            self._delete(physical, state.view.dead)
        records, deleted = self._engine.superseded(physical)
        if deleted and (records < _SMALL or deleted > records * _TOO_MANY):
            self.rewrite(physical)
            time.sleep(reading.GRACE)
        self.sweep()

    def expel(self, state: State) -> None:
        """Takes all that no search sees out of the engine's files."""
        if state.view is None:
            return
        physical = str(state.physical)
        self._delete(physical, state.view.dead)
        if self._engine.superseded(physical)[1]:
            self.rewrite(physical)

    def _delete(self, physical: str, query: JsonObject) -> None:
        writing.delete(self._connection, self._bulk, physical, query, self._lease.require)

    def rewrite(self, physical: str) -> None:
        """Puts a copy without the deleted records in the place of the engine's index."""
        self._lease.require()
        fresh = self._engine.copy(physical)
        self._change(lambda state: setattr(state, "physical", fresh), visible=True)
        self._engine.point_alias(fresh)

    def sweep(self) -> None:
        """Deletes the engine's indexes that nothing needs any more."""
        owned = self._engine.owned()
        state = self._change(lambda state: None)  # still the writer, after all of them were made
        rebuilt = state.rebuild["physical"] if state.rebuild else None
        for physical in owned - {str(state.physical), rebuilt, f"{rebuilt}.notes"}:
            self._engine.remove(physical)

    # -------------------------------------------------------------------------------------------- bit by bit

    def committed(self, state: State) -> None:
        """Remembers a commit, unless an earlier one's dead records are still to be deleted."""
        if state.view is not None and (self._past is None or self._past.physical != state.physical):
            self._past = _Commit(time.monotonic(), state.physical, state.view)

    def proceed(self, physical: str) -> None:
        """Deletes what was dead at an earlier commit, where searches that began before it have ended.

        To be called before the refresh of a later commit, which makes it count. Has the engine rewrite its small files
        from time to time, which goes on when this returns.
        """
        past, now = self._past, time.monotonic()
        if past is None or now - past.when <= reading.GRACE:
            return
        number = 0
        if past.physical == physical:
            self._lease.require()
            number = writing.delete_some(self._connection, self._bulk, physical, past.view.dead)
        if number < writing.SOME:
            self._past = None
        if number:
            self._deleted = now
        if self._deleted is not None and (self._merged is None or now - self._merged >= RETAINED):
            self._engine.start_merge(physical)
            self._merged = now
            if now - self._deleted >= RETAINED:
                self._deleted = None
