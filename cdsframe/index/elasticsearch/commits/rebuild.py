"""Rebuilds an index into a new backing index, by one process or by several that fill one part each.

Each part has its own ledger and generations; the last part to commit swaps the backing indexes. Changes made to the
index meanwhile are recorded in a separate Elasticsearch index, which is deleted when the rebuild ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from cdsframe.errors import InputError
from cdsframe.index.elasticsearch.commits.lease import Lease, described
from cdsframe.index.elasticsearch.commits.ledger import Ledger, State
from cdsframe.index.elasticsearch.commits.store import Store
from cdsframe.index.elasticsearch.commits.writing import Counts, counted
from cdsframe.index.elasticsearch.mapping import FORMAT_VERSION, View
from cdsframe.index.elasticsearch.searches import reading
from cdsframe.index.elasticsearch.server.backing_indexes import writable
from cdsframe.index.elasticsearch.server.scanning import point_in_time, scan
from cdsframe.types import JsonObject

_SWAP_WAIT = 60.0
"""Seconds that a rebuild waits for another writer when it begins and when it swaps the indexes."""

_HANDOVER = 3.0
"""Seconds to wait for the lease of a part, which another process may hold for a moment after its commit."""


class Rebuildable(Store):
    """Implements the methods of `Index` that rebuild and purge; `Store` implements the others."""

    @contextmanager
    def rebuild(self, shard: int = 0, num_shards: int = 1) -> Iterator[RebuildPart]:
        """Raises InputError if another process rebuilds with other settings, or rebuilds the same part."""
        with self._hold(_SWAP_WAIT):
            part = RebuildPart(self, self._plan(num_shards), shard)
        with part.writer(_HANDOVER):
            part.begin()
            yield part

    @property
    def rebuilding(self) -> bool:
        state = self.ledger.read()
        return state is not None and state.rebuild is not None

    def note(self, change: Mapping[str, Any]) -> None:
        with self.writer():
            if self._state.rebuild is not None:
                self._lease.require()
                notes = self._notes(self._state.rebuild)
                document = {"sequence": self._lease.next_number(), "note": dict(change)}
                self._connection.ask(
                    lambda client: client.index(
                        index=writable(notes), id=str(document["sequence"]), document=document, require_alias=True
                    )
                )

    def noted(self) -> list[JsonObject]:
        return self.noted_after(0)

    def noted_after(self, sequence: int) -> list[JsonObject]:
        """The changes recorded after this sequence number."""
        later = {"range": {"sequence": {"gt": sequence}}}
        return [row["_source"]["note"] for row in self._notes_of(later, "asc", _source=True)]

    def last_note(self) -> int:
        """Sequence number of the last recorded change; 0 if there is none."""
        rows = self._notes_of({"match_all": {}}, "desc", size=1)
        return max((int(row["sort"][0]) for row in islice(rows, 1)), default=0)

    def _notes_of(self, query: JsonObject, order: str, **options: Any) -> Iterator[JsonObject]:
        plan = self.ledger.state().rebuild
        if plan is None:
            return
        notes = self._notes(plan)
        self._connection.ask(lambda client: client.indices.refresh(index=notes))
        with point_in_time(self._connection, notes) as snapshot:
            yield from scan(self._connection, snapshot, query, sort=[{"sequence": order}], **options)

    def _notes(self, plan: Mapping[str, Any]) -> str:
        """Name of the index with a rebuild's recorded changes; creates the index if it is missing."""
        notes = f"{plan['physical']}.notes"
        self._backing_indexes.make_notes(notes)
        return notes

    def _plan(self, num_shards: int) -> JsonObject:
        """The plan of the unfinished rebuild with the same settings, or of a new one."""
        begun, wanted = self._state.rebuild, {"identity": self._identity, "num_shards": num_shards}
        if begun is not None and begun == {"physical": begun["physical"], **wanted}:
            return begun
        self._require_idle(begun)
        plan = {"physical": self._backing_indexes.new_name(), **wanted}
        self._change(lambda state: setattr(state, "rebuild", plan))
        return plan

    def _require_idle(self, plan: Mapping[str, Any] | None) -> None:
        """Raises InputError if a process is working on the rebuild."""
        for ledger in self._parts(plan):
            if lease := Lease(ledger, self.settings.lease_seconds).holder():
                raise InputError(f"the index {self.ledger.name} is being rebuilt by {described(lease)}")

    def _parts(self, plan: Mapping[str, Any] | None) -> list[Ledger]:
        if plan is None:
            return []
        return [self.ledger.part(plan["physical"], number) for number in range(plan["num_shards"])]

    def swap(self, plan: Mapping[str, Any]) -> None:
        """Replaces the index by the rebuilt one if all parts are committed; does nothing otherwise.

        Raises InputError if another rebuild began meanwhile, or if records are missing or duplicated.
        """
        with self._hold(_SWAP_WAIT):
            if self._state.backing_index == plan["physical"]:
                return
            if self._state.rebuild != plan:
                raise InputError(
                    f"a purge or another rebuild dropped the rebuild of the index {self.ledger.name}; the index is "
                    "unchanged: rebuild it again"
                )
            parts = [ledger.read() for ledger in self._parts(plan)]
            done = [part for part in parts if part is not None and part.finished and part.open is None]
            if len(done) < len(parts):
                return
            dimension = next((part.dimension for part in done if part.dimension is not None), None)
            backing_index = str(plan["physical"])
            self._backing_indexes.make(backing_index, dimension)
            self._connection.ask(lambda client: client.indices.refresh(index=backing_index))
            view = View(max(int(p.committed or 0) for p in done), tuple({n for p in done for n in p.aborted}))
            counts = counted(self._connection, backing_index, view)
            if len(done) == 1 and counts.records != done[0].records:
                raise InputError(
                    f"the rebuilt index {self.ledger.name} has {counts.records} records, {done[0].records} were "
                    "written; the index is unchanged: rebuild it again"
                )
            if len(done) > 1:
                self._require_whole(backing_index, view, counts)
            self._backing_indexes.wait_for_copies(backing_index)

            def swap(now: State) -> None:
                now.backing_index, now.identity, now.dimension = backing_index, self._identity, dimension
                now.format_version = FORMAT_VERSION
                now.committed, now.aborted = view.generation, list(view.aborted)
                now.generation = max(part.generation for part in done)
                now.documents, now.records, now.levels = counts.documents, counts.records, counts.levels
                now.adopted = ""
                now.adopt(counts.corpora, "")
                now.open, now.rebuild = None, None

            self._change(swap, visible=True)
            self._open = None
            self._backing_indexes.point_alias(backing_index)
            time.sleep(reading.GRACE)
            self._tidying.remove_unused()
            for ledger in self._parts(plan):  # last: the leases of the parts are renewed until here
                ledger.forget()

    def _require_whole(self, backing_index: str, view: View, counts: Counts) -> None:
        """Raises InputError if the new index, with all parts of the rebuild, is empty or contains a document twice."""
        if not counts.records:
            raise InputError(
                f"the parts of the rebuilt index {self.ledger.name} contain no document; the index is unchanged: "
                "check that the corpus exists, and ingest all shards again"
            )
        with point_in_time(self._connection, backing_index) as snapshot:
            different = len(self._documents(snapshot, view, ""))
        if different < counts.documents:
            raise InputError(
                f"the parts of the rebuilt index {self.ledger.name} contain {counts.documents - different} documents "
                "twice; the index is unchanged: run ingestion=rebuild"
            )

    def abandon(self) -> None:
        with self._hold(0):
            self._forget_rebuild()
            self._tidying.remove_unused()

    def _forget_rebuild(self) -> None:
        self._require_idle(self._state.rebuild)
        for ledger in self._parts(self._state.rebuild):
            ledger.forget()
        self._change(lambda now: setattr(now, "rebuild", None))

    def purge(self, document_ids: Sequence[str]) -> None:
        """See `Index.purge`. Also drops uncommitted writes and a killed rebuild.

        Raises InputError if a rebuild is in progress. Snapshots made by the server's administrator keep the text.
        """
        with self.writer():
            self._forget_rebuild()
            self.discard()
            self.delete(document_ids)
            self.commit()
            self._tidying.expunge_all(self._state)
            self._tidying.remove_unused()


class RebuildPart(Store):
    """One process's part of a rebuild. Its commit also swaps the index if all other parts are committed.

    Args:
        whole: the index that is rebuilt.
        plan: the rebuild's plan in the index's ledger.
        number: the part's number.
    """

    def __init__(self, whole: Rebuildable, plan: Mapping[str, Any], number: int) -> None:
        ledger = whole.ledger.part(plan["physical"], number)
        super().__init__(whole.settings, ledger, number, plan["num_shards"], plan["physical"])
        self._whole, self._plan = whole, plan
        self._noted = 0

    def begin(self) -> None:
        """Marks this part as unfinished, so that no swap happens before its next commit. Call within `writer()`."""
        self._change(lambda state: setattr(state, "finished", False))

    def commit(self, *, optimize: bool = False) -> None:
        with self.writer():
            self._noted = self._whole.last_note()
            super().commit()
            self._change(self._finish)
        self._whole.swap(self._plan)

    def _finish(self, state: State) -> None:
        if state.committed is None:  # this part has no documents
            state.committed = 0
        state.finished, state.noted = True, self._noted

    @contextmanager
    def rebuild(self, shard: int = 0, num_shards: int = 1) -> Iterator[RebuildPart]:
        raise InputError(f"the index {self.ledger.name} is being rebuilt; wait until the rebuild ends")
        yield self

    @property
    def rebuilding(self) -> bool:
        """Whether this process's part of the rebuild is not committed yet."""
        return self.ledger.state().committed is None

    def annotate(self, key: str, value: JsonObject | None) -> None:
        self._whole.annotate(key, value)

    def note(self, change: Mapping[str, Any]) -> None:
        self._whole.note(change)

    def noted(self) -> list[JsonObject]:
        """The changes recorded since this part's last commit."""
        return self._whole.noted_after(self.ledger.state().noted)

    def abandon(self) -> None:
        raise InputError(f"the index {self.ledger.name} is being rebuilt; wait until the rebuild ends")

    def purge(self, document_ids: Sequence[str]) -> None:
        raise InputError(f"the index {self.ledger.name} is being rebuilt; wait until the rebuild ends")
