"""Expunges records that no search sees from a backing index, so that BM25 does not count them.

A full clean-up waits for running searches and rewrites the index. Commits of single documents clean up incrementally
and do not wait. Each step first checks that this process still holds the lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from cdsframe.index.elasticsearch.commits import writing
from cdsframe.index.elasticsearch.commits.lease import Lease
from cdsframe.index.elasticsearch.commits.ledger import State
from cdsframe.index.elasticsearch.mapping import View
from cdsframe.index.elasticsearch.searches import reading
from cdsframe.index.elasticsearch.server.backing_indexes import BackingIndexes
from cdsframe.index.elasticsearch.server.bulk import Bulk
from cdsframe.index.elasticsearch.server.connection import Connection
from cdsframe.types import JsonObject

_SMALL = 50_000
"""Indexes of up to this many records are rewritten for a single deleted record, so that BM25 does not count it."""

_TOO_MANY = 0.1
"""Larger indexes are rewritten above this ratio of deleted to live records."""

RETAINED = 30.0
"""Maximum seconds that Elasticsearch keeps deleted records for recovering replicas; merges drop them afterwards."""


class _Commit(NamedTuple):
    """A commit of single documents: time of visibility (monotonic clock), backing index, visible records."""

    when: float
    backing_index: str | None
    view: View


class Tidying:
    """Clean-up of one store's backing index.

    Args:
        change: changes the state as the lease holder and returns the new one; see `Store`.
    """

    def __init__(
        self,
        connection: Connection,
        backing_indexes: BackingIndexes,
        bulk: Bulk,
        lease: Lease,
        change: Callable[..., State],
    ) -> None:
        self._connection, self._backing_indexes, self._bulk = connection, backing_indexes, bulk
        self._lease, self._change = lease, change
        self._past: _Commit | None = None
        self._deleted: float | None = None
        self._merged: float | None = None

    # -------------------------------------------------------------------------------------------- full clean-up

    def tidy(self, state: State) -> None:
        """Removes invisible records after the searches that began before the commit have ended."""
        if state.view is None:
            return
        backing_index = str(state.backing_index)
        if writing.number(self._connection, backing_index, state.view.dead):
            time.sleep(reading.GRACE)
            self._delete(backing_index, state.view.dead)
        records, deleted = self._backing_indexes.superseded(backing_index)
        if deleted and (records < _SMALL or deleted > records * _TOO_MANY):
            self.rewrite(backing_index)
            time.sleep(reading.GRACE)
        self.remove_unused()

    def expunge_all(self, state: State) -> None:
        """Removes all invisible records from the index's files."""
        if state.view is None:
            return
        backing_index = str(state.backing_index)
        self._delete(backing_index, state.view.dead)
        if self._backing_indexes.superseded(backing_index)[1]:
            self.rewrite(backing_index)

    def _delete(self, backing_index: str, query: JsonObject) -> None:
        writing.delete(self._connection, self._bulk, backing_index, query, self._lease.require)

    def rewrite(self, backing_index: str) -> None:
        """Replaces the backing index by a copy without deleted records."""
        self._lease.require()
        fresh = self._backing_indexes.copy(backing_index)
        self._change(lambda state: setattr(state, "backing_index", fresh), visible=True)
        self._backing_indexes.point_alias(fresh)

    def remove_unused(self) -> None:
        """Deletes the backing indexes that neither the committed state nor a rebuild uses."""
        owned = self._backing_indexes.owned()
        state = self._change(lambda state: None)  # verifies the lease after `owned` listed the indexes
        rebuilt = state.rebuild["physical"] if state.rebuild else None
        for backing_index in owned - {str(state.backing_index), rebuilt, f"{rebuilt}.notes"}:
            self._backing_indexes.remove(backing_index)

    # -------------------------------------------------------------------------------------------- incremental clean-up

    def record_commit(self, state: State) -> None:
        """Remembers a commit unless the dead records of an earlier one are still to be deleted."""
        if state.view is not None and (self._past is None or self._past.backing_index != state.backing_index):
            self._past = _Commit(time.monotonic(), state.backing_index, state.view)

    def expunge_some(self, backing_index: str) -> None:
        """Deletes records that an earlier commit replaced, once all searches that began before that commit have ended.

        Call before the refresh of a later commit, which makes the deletions effective. Occasionally starts a force
        merge, which continues in the background.
        """
        past, now = self._past, time.monotonic()
        if past is None or now - past.when <= reading.GRACE:
            return
        number = 0
        if past.backing_index == backing_index:
            self._lease.require()
            number = writing.delete_some(self._connection, self._bulk, backing_index, past.view.dead)
        if number < writing.SOME:
            self._past = None
        if number:
            self._deleted = now
        if self._deleted is not None and (self._merged is None or now - self._merged >= RETAINED):
            self._backing_indexes.start_merge(backing_index)
            self._merged = now
            if now - self._deleted >= RETAINED:
                self._deleted = None
