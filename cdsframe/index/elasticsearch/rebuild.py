"""Rebuilding an index beside itself, by one process or by several that each fill a part of it.

The parts write into one new index of the engine, each with a ledger and with generations of its own; the last one to
commit swaps. Changes that are made meanwhile are noted in an index of their own, which goes with the rebuild.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from cdsframe.errors import InputError
from cdsframe.index.elasticsearch import reading
from cdsframe.index.elasticsearch.engine import writable
from cdsframe.index.elasticsearch.layout import View
from cdsframe.index.elasticsearch.lease import Lease, named
from cdsframe.index.elasticsearch.ledger import FORMAT_VERSION, Ledger, State
from cdsframe.index.elasticsearch.scanning import point, scan
from cdsframe.index.elasticsearch.store import Store
from cdsframe.index.elasticsearch.writing import Counts, counted
from cdsframe.types import JsonObject

_SWAP_WAIT = 60.0
"""Seconds that the swap waits for another writer."""

_HANDOVER = 3.0
"""Seconds that a process may take from the commit of its part to letting go of it."""


class Rebuildable(Store):
    """The part of the contract `Index` that rebuilds and purges."""

    @contextmanager
    def rebuild(self, shard: int = 0, num_shards: int = 1) -> Iterator[Part]:
        """Raises InputError where another process rebuilds by other settings, or the same part."""
        with self._hold(_SWAP_WAIT):
            part = Part(self, self._plan(num_shards), shard)
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
        """The changes that were noted after one of them, by its number."""
        later = {"range": {"sequence": {"gt": sequence}}}
        return [row["_source"]["note"] for row in self._notes_of(later, "asc", _source=True)]

    def last_note(self) -> int:
        """The number of the change that was noted last; 0 where none was."""
        rows = self._notes_of({"match_all": {}}, "desc", size=1)
        return max((int(row["sort"][0]) for row in islice(rows, 1)), default=0)

    def _notes_of(self, query: JsonObject, order: str, **options: Any) -> Iterator[JsonObject]:
        plan = self.ledger.state().rebuild
        if plan is None:
            return
        notes = self._notes(plan)
        self._connection.ask(lambda client: client.indices.refresh(index=notes))
        with point(self._connection, notes) as snapshot:
            yield from scan(self._connection, snapshot, query, sort=[{"sequence": order}], **options)

    def _notes(self, plan: Mapping[str, Any]) -> str:
        """The engine's index of a rebuild's notes."""
        notes = f"{plan['physical']}.notes"
        self._engine.make_notes(notes)
        return notes

    def _plan(self, num_shards: int) -> JsonObject:
        """The rebuild that has begun by the same settings, or a new one."""
        begun, wanted = self._state.rebuild, {"identity": self._identity, "num_shards": num_shards}
        if begun is not None and begun == {"physical": begun["physical"], **wanted}:
            return begun
        self._require_idle(begun)
        plan = {"physical": self._engine.new_name(), **wanted}
        self._change(lambda state: setattr(state, "rebuild", plan))
        return plan

    def _require_idle(self, plan: Mapping[str, Any] | None) -> None:
        """Raises InputError where a process is at work on the rebuild."""
        for ledger in self._parts(plan):
            if lease := Lease(ledger, self.settings.lease_seconds).holder():
                raise InputError(f"the index {self.ledger.name} is being rebuilt by {named(lease)}")

    def _parts(self, plan: Mapping[str, Any] | None) -> list[Ledger]:
        if plan is None:
            return []
        return [self.ledger.part(plan["physical"], number) for number in range(plan["num_shards"])]

    def swap(self, plan: Mapping[str, Any]) -> None:
        """Puts a rebuild in the index's place if all its parts are committed.

        Raises InputError where another rebuild was begun meanwhile, and where the parts do not make an index.
        """
        with self._hold(_SWAP_WAIT):
            if self._state.physical == plan["physical"]:
                return
            if self._state.rebuild != plan:
                raise InputError(
                    f"the rebuild of the index {self.ledger.name} was dropped meanwhile, by a purge or another "
                    "rebuild; the index is left as it was: rebuild it again"
                )
            parts = [ledger.read() for ledger in self._parts(plan)]
            done = [part for part in parts if part is not None and part.finished and part.open is None]
            if len(done) < len(parts):
                return
            dimension = next((part.dimension for part in done if part.dimension is not None), None)
            physical = str(plan["physical"])
            self._engine.make(physical, dimension)
            self._connection.ask(lambda client: client.indices.refresh(index=physical))
            view = View(max(int(p.committed or 0) for p in done), tuple({n for p in done for n in p.aborted}))
            counts = counted(self._connection, physical, view)
            if len(done) == 1 and counts.records != done[0].records:
                raise InputError(
                    f"the rebuilt index {self.ledger.name} has {counts.records} records where {done[0].records} were "
                    "written; the index is left as it was: rebuild it again"
                )
            if len(done) > 1:
                self._require_whole(physical, view, counts)
            self._engine.wait_for_copies(physical)

            def swap(now: State) -> None:
                now.physical, now.identity, now.dimension = physical, self._identity, dimension
                now.format_version = FORMAT_VERSION
                now.committed, now.aborted = view.generation, list(view.aborted)
                now.generation = max(part.generation for part in done)
                now.documents, now.records, now.levels = counts.documents, counts.records, counts.levels
                now.adopted = ""
                now.adopt(counts.corpora, "")
                now.open, now.rebuild = None, None

            self._change(swap, visible=True)
            self._open = None
            self._engine.point_alias(physical)
            time.sleep(reading.GRACE)
            self._tidying.sweep()
            for ledger in self._parts(plan):  # at last: the parts' leases are renewed until here
                ledger.forget()

    def _require_whole(self, physical: str, view: View, counts: Counts) -> None:
        """Raises InputError where several parts together hold nothing, or a document twice."""
        if not counts.records:
            raise InputError(
                f"the parts of the rebuilt index {self.ledger.name} hold no document; the index is left as it was: see "
                "whether the corpus is there, and ingest all shards again"
            )
        with point(self._connection, physical) as snapshot:
            different = len(self._documents(snapshot, view, ""))
        if different < counts.documents:
            raise InputError(
                f"the parts of the rebuilt index {self.ledger.name} hold {counts.documents - different} documents "
                "twice; the index is left as it was: run ingestion=rebuild"
            )

    def abandon(self) -> None:
        with self._hold(0):
            self._forget_rebuild()
            self._tidying.sweep()

    def _forget_rebuild(self) -> None:
        self._require_idle(self._state.rebuild)
        for ledger in self._parts(self._state.rebuild):
            ledger.forget()
        self._change(lambda now: setattr(now, "rebuild", None))

    def purge(self, document_ids: Sequence[str]) -> None:
        """As the contract says; what is not committed is dropped, and a rebuild that was killed too.

        One that is under way refuses the purge. Copies that the server's administrator made (snapshots) keep the text.
        """
        with self.writer():
            self._forget_rebuild()
            self.discard()
            self.delete(document_ids)
            self.commit()
            self._tidying.expel(self._state)
            self._tidying.sweep()


class Part(Store):
    """What one process fills of a rebuild; it commits its own part, and the whole where it is the last.

    Args:
        whole: the index that is rebuilt.
        plan: what its ledger says of the rebuild.
        number: which part.
    """

    def __init__(self, whole: Rebuildable, plan: Mapping[str, Any], number: int) -> None:
        ledger = whole.ledger.part(plan["physical"], number)
        super().__init__(whole.settings, ledger, number, plan["num_shards"], plan["physical"])
        self._whole, self._plan = whole, plan
        self._noted = 0

    def begin(self) -> None:
        """Nothing is swapped before this part is committed, even if it was before; within `writer()`."""
        self._change(lambda state: setattr(state, "finished", False))

    def commit(self, *, optimize: bool = False) -> None:
        with self.writer():
            self._noted = self._whole.last_note()
            super().commit()
            self._change(self._finish)
        self._whole.swap(self._plan)

    def _finish(self, state: State) -> None:
        if state.committed is None:  # no document belongs to this part
            state.committed = 0
        state.finished, state.noted = True, self._noted

    @contextmanager
    def rebuild(self, shard: int = 0, num_shards: int = 1) -> Iterator[Part]:
        raise InputError(f"the index {self.ledger.name} is being rebuilt; wait for its end")
        yield self

    @property
    def rebuilding(self) -> bool:
        """Whether this part was never committed."""
        return self.ledger.state().committed is None

    def note(self, change: Mapping[str, Any]) -> None:
        self._whole.note(change)

    def noted(self) -> list[JsonObject]:
        """Those that this part lacks: all since its commit."""
        return self._whole.noted_after(self.ledger.state().noted)

    def abandon(self) -> None:
        raise InputError(f"the index {self.ledger.name} is being rebuilt; wait for its end")

    def purge(self, document_ids: Sequence[str]) -> None:
        raise InputError(f"the index {self.ledger.name} is being rebuilt; wait for its end")
