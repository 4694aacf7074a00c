"""The writes of one generation into an Elasticsearch index, and the removal of records for good.

Does not know who may write, nor what is committed (see `store`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from cdsframe.errors import InputError
from cdsframe.index.elasticsearch.bulk import Action, Bulk, action
from cdsframe.index.elasticsearch.connection import Connection
from cdsframe.index.elasticsearch.engine import writable
from cdsframe.index.elasticsearch.layout import CORPUS, View, check_ids, encoded, required
from cdsframe.index.elasticsearch.scanning import WINDOW, point, scan
from cdsframe.types import JsonObject, Level, Passage

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_CORPORA = 10_000
"""Corpora of one index that are counted."""

_AT_ONCE = 1_000
"""Documents in one condition."""

SOME = 1_000
"""Records that are deleted at most beside a commit of single documents."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a view of an index holds."""

    documents: int
    records: int
    levels: dict[Level, int]
    corpora: dict[str, int]
    """Corpus -> documents; "" for those that were written without one."""


class Writes:
    """One generation under way.

    Args:
        physical: the engine's index.
        view: the committed records and this generation's.
        empty: whether nothing was in the index when the generation began.
        route: what decides a record's shard, by its metadata; None: the engine.
    """

    def __init__(
        self,
        connection: Connection,
        bulk: Bulk,
        physical: str,
        view: View,
        empty: bool,
        route: Callable[[Mapping[str, str]], str | None],
    ) -> None:
        self._connection, self._bulk, self._route = connection, bulk, route
        self.physical, self.view, self._empty = physical, view, empty
        self._touched: set[str] = set()
        self._serial = 0
        self._unseen = False

    def put(self, records: Sequence[Passage], vectors: np.ndarray | None, corpus: str) -> None:
        """Replaces the records of the documents that the given ones belong to; they are the corpus's from then on.

        Raises InputError where one has an id that the engine does not take, before any is sent.
        """
        check_ids(records)
        counts = Counter(record.document_id for record in records)
        self.supersede(list(counts))
        self._serial += 1
        self._unseen = True
        self._bulk.put(writable(self.physical), self._actions(records, vectors, counts, corpus))

    def _actions(
        self, records: Sequence[Passage], vectors: np.ndarray | None, counts: Counter[str], corpus: str
    ) -> Iterator[Action]:
        for number, record in enumerate(records):
            body = encoded(
                record,
                None if vectors is None else vectors[number],
                self.view.generation,
                counts.pop(record.document_id, None),
                corpus,
            )
            # The same write twice makes one record: a request is sent again where its answer got lost.
            key = f"{self.view.generation}.{self._serial}.{number}"
            yield action("create", key, body, record.id, record.document_id, routing=self._route(record.metadata))

    def supersede(self, document_ids: Sequence[str]) -> None:
        """Marks all records of the documents as dead from this generation on."""
        if not self._touched.isdisjoint(document_ids):
            self.settle()
        elif self._empty:
            self._touched.update(document_ids)
            return
        for first in range(0, len(document_ids), _AT_ONCE):
            some = document_ids[first : first + _AT_ONCE]
            while rows := self._live(some, self.view):
                if any(row["fields"].get("died", [0])[0] > self.view.generation for row in rows):
                    raise InputError(
                        f"another writer has taken over the index {self.physical}; what this process wrote since the "
                        "last commit is not seen by anybody: run it again"
                    )
                conflicts = self._update(rows, "died")
                if not conflicts and len(rows) < WINDOW:
                    break
                self.settle()
        self._touched.update(document_ids)

    def _live(self, document_ids: Sequence[str], view: View) -> list[JsonObject]:
        query = {"bool": {"filter": [required(document_ids), view.query]}}
        found = self._connection.ask(
            lambda client: client.search(
                index=self.physical,
                query=query,
                size=WINDOW,
                sort=[{"_doc": "asc"}],
                source=False,
                docvalue_fields=[{"field": "document_id"}, {"field": "died"}],
                seq_no_primary_term=True,
                track_total_hits=False,
                allow_partial_search_results=False,
            )
        )
        return list(found["hits"]["hits"])

    def _update(self, rows: Iterable[JsonObject], field: str) -> list[str]:
        """Sets a field of records to this generation; gives the documents of those that changed in the meantime."""
        body = b'{"doc":{"%s":%d}}' % (field.encode(), self.view.generation)
        self._unseen = True
        self._bulk.put(
            writable(self.physical),
            (
                action(
                    "update",
                    row["_id"],
                    body,
                    row["fields"]["document_id"][0],
                    if_seq_no=row["_seq_no"],
                    if_primary_term=row["_primary_term"],
                    routing=row.get("_routing"),
                )
                for row in rows
            ),
        )
        return self._bulk.drain()

    def settle(self) -> None:
        """Waits until all that was written can be found."""
        self._bulk.drain()
        if self._unseen:
            self._connection.ask(lambda client: client.indices.refresh(index=self.physical))
            self._unseen = False

    def take_over(self, generations: Sequence[int]) -> None:
        """Makes this generation's own the whole documents that writers left behind when they died."""
        self._unseen = True
        self.settle()
        query = {"bool": {"filter": [{"terms": {"born": generations}}], "must_not": [{"terms": {"died": generations}}]}}
        documents = 0
        with point(self._connection, self.physical) as snapshot:
            rows = scan(
                self._connection,
                snapshot,
                query,
                sort=[{"document_id": "asc"}, {"_shard_doc": "asc"}],
                docvalue_fields=["document_id", "records"],
                seq_no_primary_term=True,
            )
            groups = (list(group) for _, group in groupby(rows, lambda row: row["fields"]["document_id"][0]))
            whole = (group for group in groups if sum(_told(row) for row in group) == len(group))
            while some := list(islice(whole, _AT_ONCE)):
                self.supersede([group[0]["fields"]["document_id"][0] for group in some])
                conflicts = self._update((row for group in some for row in group), "born")
                documents += len(some) - len(set(conflicts))
                if conflicts:
                    self.settle()
                    self.supersede(sorted(set(conflicts)))
        self.settle()
        if documents:
            log.info("%d documents that an earlier run wrote and did not commit are kept", documents)

    def count(self) -> Counts:
        """What this generation's commit will show. Raises InputError where records of its documents are missing."""
        self.settle()
        return counted(self._connection, self.physical, self.view)


def counted(connection: Connection, physical: str, view: View) -> Counts:
    """What a view of an index holds. Raises InputError where documents have other than all their records."""
    found = connection.ask(
        lambda client: client.search(
            index=physical,
            query={"bool": {"filter": [view.query]}},
            size=0,
            track_total_hits=True,
            allow_partial_search_results=False,
            aggregations={
                "documents": {"value_count": {"field": "records"}},
                "expected": {"sum": {"field": "records"}},
                "levels": {"terms": {"field": "level"}},
                "documents_of": {
                    "filter": {"exists": {"field": "records"}},
                    "aggregations": {"corpora": {"terms": {"field": CORPUS, "size": _CORPORA, "missing": ""}}},
                },
            },
        )
    )
    records, counts = found["hits"]["total"]["value"], found["aggregations"]
    expected = round(counts["expected"]["value"])
    if records != expected:
        raise InputError(
            f"the Elasticsearch index {physical} has {records} records where its documents have {expected}; nothing "
            "was committed: run it again, or fix it by ingestion=rebuild"
        )
    levels, corpora = (
        {row["key"]: row["doc_count"] for row in buckets}
        for buckets in (counts["levels"]["buckets"], counts["documents_of"]["corpora"]["buckets"])
    )
    return Counts(counts["documents"]["value"], records, levels, corpora)


def number(connection: Connection, physical: str, query: JsonObject) -> int:
    """How many records fulfil a condition."""
    return int(connection.ask(lambda client: client.count(index=physical, query=query))["count"])


def delete(
    connection: Connection,
    bulk: Bulk,
    physical: str,
    query: JsonObject,
    require: Callable[[], None],
) -> None:
    """Deletes the records that fulfil a condition, for good; `require` is called before each page of them."""
    connection.ask(lambda client: client.indices.refresh(index=physical))
    with point(connection, physical) as snapshot:
        rows = scan(connection, snapshot, query)
        while some := list(islice(rows, WINDOW)):
            require()
            bulk.put(writable(physical), _deletions(some))
    bulk.drain()
    connection.ask(lambda client: client.indices.refresh(index=physical))


def delete_some(connection: Connection, bulk: Bulk, physical: str, query: JsonObject) -> int:
    """Begins to delete `SOME` of the records that fulfil a condition, as they were refreshed last; gives their number.

    The next refresh makes it count.
    """
    found = connection.ask(
        lambda client: client.search(
            index=physical,
            query={"bool": {"filter": [query]}},
            size=SOME,
            sort=[{"_doc": "asc"}],
            source=False,
            track_total_hits=False,
            allow_partial_search_results=False,
        )
    )
    rows = found["hits"]["hits"]
    bulk.put(writable(physical), _deletions(rows))
    return len(rows)


def _deletions(rows: Iterable[JsonObject]) -> Iterator[Action]:
    return (action("delete", row["_id"], None, row["_id"], routing=row.get("_routing")) for row in rows)


def _told(row: JsonObject) -> int:
    """How many records a row's document has, told by its first; 0 by the others."""
    return int(row["fields"].get("records", [0])[0])
