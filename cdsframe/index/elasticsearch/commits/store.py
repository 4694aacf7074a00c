"""Commits to one Elasticsearch index by generations: writes stay invisible until the commit.

Each writer's records carry a new generation. Records that the writer replaces or deletes are marked as dead from this
generation on; sequence numbers detect concurrent changes. The commit publishes the generation in the ledger. If a
writer dies, the next one takes over its complete documents under a new generation, so late requests of the dead writer
have no visible effect. Uses no scripts and no `_delete_by_query`: any Elasticsearch licence works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cdsframe.artifacts.digests import digest, flatten
from cdsframe.contracts import Choose
from cdsframe.errors import InputError
from cdsframe.index.elasticsearch.commits.lease import Lease
from cdsframe.index.elasticsearch.commits.ledger import Ledger, State
from cdsframe.index.elasticsearch.commits.tidying import Tidying
from cdsframe.index.elasticsearch.commits.writing import Writes
from cdsframe.index.elasticsearch.mapping import CORPUS, FORMAT_VERSION, RecordMapping, View, of_documents
from cdsframe.index.elasticsearch.searches.reading import CommittedReader
from cdsframe.index.elasticsearch.searches.searching import Searches
from cdsframe.index.elasticsearch.server.backing_indexes import BackingIndexes
from cdsframe.index.elasticsearch.server.bulk import Bulk
from cdsframe.index.elasticsearch.server.connection import Connection
from cdsframe.index.elasticsearch.server.scanning import point_in_time, scan
from cdsframe.index.identity import Identity, require_dimension, require_same, with_form
from cdsframe.index.keys import require_different
from cdsframe.index.ordinal_ranges import OrdinalRange
from cdsframe.types import Filters, Hit, JsonObject, Level, Passage, Request

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Settings shared by the stores of one index; see `ElasticsearchIndex`."""

    connection: Connection
    mapping: RecordMapping
    identity: Identity
    num_candidates: int
    oversample: float
    bulk_threads: int
    bulk_megabytes: float
    lease_seconds: float


_AT_ONCE = 1_000
"""Maximum number of document ids in one query."""


class Store:
    """Implements the methods of `Index` that need one ledger and its backing index.

    Args:
        settings: the index's settings.
        ledger: holds the commit state.
        part, num_parts: this store uses every `num_parts`th generation, from `part` + 1 on.
        backing_index: name of the backing index that the first write creates; None: a new name.
    """

    ephemeral = False

    def __init__(
        self,
        settings: StoreSettings,
        ledger: Ledger,
        part: int = 0,
        num_parts: int = 1,
        backing_index: str | None = None,
    ) -> None:
        self.settings, self.ledger = settings, ledger
        self._connection, mapping = settings.connection, settings.mapping
        self._identity: dict[str, Any] = json.loads(
            json.dumps({**with_form(settings.identity), "index": mapping.identity}, default=dict)
        )
        self._bulk = Bulk(self._connection, settings.bulk_threads, settings.bulk_megabytes)
        self._backing_indexes = BackingIndexes(self._connection, ledger.name, mapping, self._identity)
        searches = Searches(mapping, settings.num_candidates, settings.oversample)
        self._reader = CommittedReader(self._connection, ledger, self._require, searches)
        self._lease = Lease(ledger, settings.lease_seconds)
        self._tidying = Tidying(self._connection, self._backing_indexes, self._bulk, self._lease, self._change)
        self._part, self._num_parts, self._backing_index = part, num_parts, backing_index
        self._me = uuid4().hex
        self._entered, self._depth = RLock(), 0
        self._open: Writes | None = None
        self._state = State()
        self._known: tuple[Any, str] | None = None
        self._adopting = ""

    # -------------------------------------------------------------------------------------------- reading

    @property
    def digest(self) -> str | None:
        state = self.ledger.read()
        if state is None or state.view is None:
            return None
        if self._known is None or self._known[0] != state.commit:
            made = {group: values for group, values in state.identity.items() if group != "index"}
            documents = flatten(self.documents(committed=True))
            self._known = state.commit, digest(json.dumps(made, sort_keys=True), *documents)
        return self._known[1]

    @property
    def levels(self) -> Mapping[Level, int]:
        state = self._reader.recent()
        return {} if state is None or state.view is None else state.levels

    @property
    def corpora(self) -> Mapping[str, int]:
        return self.ledger.state().named_corpora

    def documents(self, *, committed: bool = False) -> dict[str, str]:
        return {id_: digest for id_, (digest, _) in self.owned(committed=committed).items()}

    def owned(
        self, document_ids: Sequence[str] | None = None, *, committed: bool = False
    ) -> dict[str, tuple[str, str]]:
        # Another thread's uncommitted writes are not visible here.
        if not committed and self._entered.acquire(blocking=False):
            try:
                if self._depth:
                    self._resume()
                if self._open is not None:
                    self._open.settle()
                    with point_in_time(self._connection, self._open.backing_index) as snapshot:
                        return self._documents(snapshot, self._open.view, self._state.adopted, document_ids)
            finally:
                self._entered.release()
        state = self.ledger.read()
        if state is None or state.committed is None:
            return {}
        with self._reader.snapshot(of_any_settings=True) as (snapshot, state):
            view = self._view(state, int(state.committed or 0))
            return self._documents(snapshot, view, state.adopted, document_ids)

    def holds(self, filter: Filters) -> bool:
        return self._reader.holds(filter)

    def values(self, field: str, filter: Filters, limit: int) -> list[str]:
        return self._reader.values(field, filter, limit)

    def passages(self, document_ids: Sequence[str], level: Level = "passage") -> list[Passage]:
        return self._reader.passages(document_ids, level)

    def between(self, ranges: Sequence[OrdinalRange]) -> list[Passage]:
        return self._reader.between(ranges)

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        return self._reader.search(requests, choose)

    def _documents(
        self, snapshot: str, view: View, adopted: str, document_ids: Sequence[str] | None = None
    ) -> dict[str, tuple[str, str]]:
        """Document id -> (digest, corpus), from the first record of each document: of all documents, or of the given
        ones."""
        first: list[JsonObject] = [view.query, {"exists": {"field": "records"}}]
        ids = None if document_ids is None else list(dict.fromkeys(document_ids))
        parts = (
            [[]] if ids is None else [[of_documents(ids[at : at + _AT_ONCE])] for at in range(0, len(ids), _AT_ONCE)]
        )
        found = {}
        for part in parts:
            query = {"bool": {"filter": [*first, *part]}}
            rows = scan(self._connection, snapshot, query, docvalue_fields=["document_id", "digest", CORPUS])
            for fields in (row["fields"] for row in rows):
                found[fields["document_id"][0]] = fields["digest"][0], fields.get(CORPUS, [adopted])[0]
        return found

    @property
    def annotations(self) -> Mapping[str, JsonObject]:
        return self.ledger.annotations()

    def annotate(self, key: str, value: JsonObject | None) -> None:
        with self.writer():
            self.ledger.annotate(key, value)

    def _require(self, state: State) -> None:
        """Raises IndexMismatchError if the index was built with other settings than the configuration's."""
        require_same(self.ledger.name, state.identity, self._identity)

    def _view(self, state: State, generation: int) -> View:
        """This store's records up to a generation."""
        own = None if self._num_parts == 1 else tuple(range(self._part + 1, generation + 1, self._num_parts))
        return View(generation, tuple(state.aborted), own)

    # -------------------------------------------------------------------------------------------- writing

    @contextmanager
    def writer(self, wait: float = 0) -> Iterator[None]:
        """Raises InputError if another process writes, IndexMismatchError if the index has other settings."""
        with self._hold(wait):
            plan = self._state.rebuild
            if self._state.committed is not None and (plan is None or plan["identity"] != self._identity):
                require_same(self.ledger.name, self._state.identity, self._identity, writing=True)
            yield

    @contextmanager
    def _hold(self, wait: float) -> Iterator[None]:
        """Holds the writer lease. Does not compare the index's settings with the configuration's."""
        if not self._entered.acquire(timeout=max(wait, 0)):
            raise InputError(f"the index {self.ledger.name} is being written by another thread of this process")
        try:
            if self._depth:
                yield
                return
            self.ledger.prepare(self.settings.mapping.replicas)
            with self._lease.hold(wait) as self._state:
                self._depth = 1
                try:
                    if self._state.open is None or self._state.open["owner"] != self._me:
                        self._open = None  # its writes were committed, or another writer took over the lease
                    yield
                    self._bulk.drain()
                finally:
                    self._depth = 0
                    self._bulk.close()
        finally:
            self._entered.release()

    def write(self, records: Sequence[Passage], vectors: np.ndarray | None, corpus: str = "") -> None:
        require_different(records)
        dimension = None if vectors is None else int(vectors.shape[1])
        with self.writer():
            if self._written() and not self._vacant(self._state):
                require_dimension(self.ledger.name, self._state.dimension, dimension)
            self._begin(dimension).put(records, vectors, corpus)

    def adopt(self, corpus: str) -> None:
        self._adopting = corpus

    def delete(self, document_ids: Sequence[str]) -> None:
        with self.writer():
            self._resume()
            if self._written():
                self._begin(self._state.dimension).supersede(list(dict.fromkeys(document_ids)))

    def commit(self, *, optimize: bool = False) -> None:
        with self.writer():
            self._resume()
            if self._open is not None:
                incremental = not optimize and self._backing_index is None
                if incremental:
                    self._tidying.expunge_some(self._open.backing_index)
                self._publish(self._open)
                if incremental:
                    self._tidying.record_commit(self._state)
            elif self._adopting and self._state.committed is not None:
                corpora = self._state.named_corpora
                self._change(lambda state: state.adopt(corpora, self._adopting), visible=True)
            self._adopting = ""
            if optimize:
                self._tidying.tidy(self._state)

    def discard(self) -> None:
        def forget(state: State) -> None:
            if state.open is not None:
                state.aborted.append(state.open["generation"])
                state.open = None

        with self.writer():
            self._bulk.close()
            self._change(forget)
            self._open, self._adopting = None, ""

    def _change(self, alter: Callable[[State], None], *, visible: bool = False) -> State:
        """Changes the state as the lease holder; returns it. `visible`: readers see the new state when this returns."""
        self._state = self._lease.change(alter, refresh=visible)
        if visible:
            self._reader.cache(self._state)
        return self._state

    def _written(self) -> bool:
        """Whether a backing index with the configuration's settings exists."""
        return self._state.backing_index is not None and not self._foreign(self._state)

    def _foreign(self, state: State) -> bool:
        """Whether the index holds only uncommitted writes with other settings."""
        return state.committed is None and state.identity != self._identity

    def _vacant(self, state: State) -> bool:
        """Whether the committed index has no records and no vector dimension."""
        return state.committed is not None and not state.records and state.dimension is None and state.open is None

    def _resume(self) -> None:
        """Takes over the uncommitted writes of a writer that died, if there are any."""
        if self._open is None and self._state.open is not None and self._written():
            self._begin(self._state.dimension)

    def _begin(self, dimension: int | None) -> Writes:
        """Returns the writes of the open generation; begins a new generation if none is open."""
        self._lease.require()
        if self._open is not None:
            return self._open
        if self._state.committed is not None:
            require_same(self.ledger.name, self._state.identity, self._identity, writing=True)
        if self._vacant(self._state) and self._state.backing_index is not None:
            self._backing_indexes.widen(self._state.backing_index, dimension)
        dropped: list[str] = []
        left: list[int] = []

        def begin(state: State) -> None:
            dropped.clear()
            left.clear()
            if self._foreign(state):
                dropped.extend([state.backing_index] if state.backing_index else [])
                state.backing_index, state.open, state.aborted = None, None, []
            if state.backing_index is None:
                state.backing_index = self._backing_index or self._backing_indexes.new_name()
                state.identity, state.dimension = self._identity, dimension
                state.format_version = FORMAT_VERSION
            if self._vacant(state):
                state.dimension = dimension
            if state.open is not None:
                left.extend([state.open["generation"], *state.open["left"]])
                state.aborted.append(state.open["generation"])
            state.generation += self._num_parts if state.generation else self._part + 1
            state.open = {"generation": state.generation, "owner": self._me, "left": list(left)}

        self._change(begin)
        state, backing_index = self._state, str(self._state.backing_index)
        for gone in dropped:
            self._backing_indexes.remove(gone)
        made = self._backing_indexes.make(backing_index, state.dimension)
        view = self._view(state, state.generation)
        empty = made and self._num_parts == 1
        self._open = Writes(self._connection, self._bulk, backing_index, view, empty, self.settings.mapping)
        if left:
            self._open.take_over(left)
        return self._open

    def _publish(self, writes: Writes) -> None:
        """Makes the writes of a generation visible to readers."""
        counts = writes.count()
        first = False
        self._backing_indexes.wait_for_copies(writes.backing_index)

        def publish(state: State) -> None:
            nonlocal first
            if state.open is None or state.open["owner"] != self._me:
                raise InputError(
                    f"another writer dropped the uncommitted writes to the index {self.ledger.name}; run the command "
                    "again"
                )
            first = state.committed is None
            state.committed, state.open = writes.view.generation, None
            state.documents, state.records, state.levels = counts.documents, counts.records, counts.levels
            state.adopt(counts.corpora, self._adopting)
            self._finish(state)

        self._change(publish, visible=True)
        self._open = None
        if first and self._backing_index is None:
            self._backing_indexes.point_alias(writes.backing_index)

    def _finish(self, state: State) -> None:
        """Does nothing. A subclass overrides this method to change more of the state in the same commit."""
