"""Writes one generation into an Elasticsearch index and deletes records for good.

Does not know who may write or what is committed (see `store`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from cdsframe.errors import InputError
from cdsframe.index.elasticsearch.mapping import CORPUS, RecordMapping, View, check_records, encoded, of_documents
from cdsframe.index.elasticsearch.server.backing_indexes import writable
from cdsframe.index.elasticsearch.server.bulk import Action, Bulk, action
from cdsframe.index.elasticsearch.server.connection import Connection
from cdsframe.index.elasticsearch.server.scanning import WINDOW, point_in_time, scan
from cdsframe.types import JsonObject, Level, Passage

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_CORPORA = 10_000
"""Maximum number of corpora counted per index."""

_AT_ONCE = 1_000
"""Maximum number of document ids in one query."""

SOME = 1_000
"""Maximum number of records deleted along with a commit of single documents."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the visible records."""

    documents: int
    records: int
    levels: dict[Level, int]
    corpora: dict[str, int]
    """Corpus -> documents; "" for documents written without a corpus."""


class Writes:
    """The writes of one open generation.

    Args:
        backing_index: the index to write to.
        view: the committed records and this generation's.
        empty: whether the index was empty when the generation began.
        mapping: the index's mapping.
    """

    def __init__(
        self,
        connection: Connection,
        bulk: Bulk,
        backing_index: str,
        view: View,
        empty: bool,
        mapping: RecordMapping,
    ) -> None:
        self._connection, self._bulk, self._mapping = connection, bulk, mapping
        self.backing_index, self.view, self._empty = backing_index, view, empty
        self._touched: set[str] = set()
        self._serial = 0
        self._unseen = False

    def put(self, records: Sequence[Passage], vectors: np.ndarray | None, corpus: str) -> None:
        """Replaces the records of the documents that these records belong to and assigns the documents to the corpus.

        Raises InputError for an invalid id or an unknown metadata field before any record is sent.
        """
        check_records(records, self._mapping.known_fields)
        counts = Counter(record.document_id for record in records)
        self.supersede(list(counts))
        self._serial += 1
        self._unseen = True
        self._bulk.put(writable(self.backing_index), self._actions(records, vectors, counts, corpus))

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
            # A request whose response was lost is sent again: the fixed key prevents a second record.
            key = f"{self.view.generation}.{self._serial}.{number}"
            route = self._mapping.route(record.metadata)
            yield action("create", key, body, record.id, record.document_id, routing=route)

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
                        f"another writer has taken over the index {self.backing_index}; this process's writes since "
                        "the last commit are not visible: run the command again"
                    )
                conflicts = self._update(rows, "died")
                if not conflicts and len(rows) < WINDOW:
                    break
                self.settle()
        self._touched.update(document_ids)

    def _live(self, document_ids: Sequence[str], view: View) -> list[JsonObject]:
        query = {"bool": {"filter": [of_documents(document_ids), view.query]}}
        found = self._connection.ask(
            lambda client: client.search(
                index=self.backing_index,
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
        """Sets a field of records to this generation. Returns the ids of documents that another writer changed."""
        body = b'{"doc":{"%s":%d}}' % (field.encode(), self.view.generation)
        self._unseen = True
        self._bulk.put(
            writable(self.backing_index),
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
        """Waits until all writes are searchable."""
        self._bulk.drain()
        if self._unseen:
            self._connection.ask(lambda client: client.indices.refresh(index=self.backing_index))
            self._unseen = False

    def take_over(self, generations: Sequence[int]) -> None:
        """Moves the complete documents of writers that died to this generation."""
        self._unseen = True
        self.settle()
        query = {"bool": {"filter": [{"terms": {"born": generations}}], "must_not": [{"terms": {"died": generations}}]}}
        documents = 0
        with point_in_time(self._connection, self.backing_index) as snapshot:
            rows = scan(
                self._connection,
                snapshot,
                query,
                sort=[{"document_id": "asc"}, {"_shard_doc": "asc"}],
                docvalue_fields=["document_id", "records"],
                seq_no_primary_term=True,
            )
            groups = (list(group) for _, group in groupby(rows, lambda row: row["fields"]["document_id"][0]))
            whole = (group for group in groups if sum(_declared_records(row) for row in group) == len(group))
            while some := list(islice(whole, _AT_ONCE)):
                self.supersede([group[0]["fields"]["document_id"][0] for group in some])
                conflicts = self._update((row for group in some for row in group), "born")
                documents += len(some) - len(set(conflicts))
                if conflicts:
                    self.settle()
                    self.supersede(sorted(set(conflicts)))
        self.settle()
        if documents:
            log.info("kept %d documents that an earlier run had written but not committed", documents)

    def count(self) -> Counts:
        """The numbers of documents and records that the index has after the commit of this generation of writes.

        Raises InputError if records of its documents are missing.
        """
        self.settle()
        return counted(self._connection, self.backing_index, self.view)


def counted(connection: Connection, backing_index: str, view: View) -> Counts:
    """Counts a view's records. Raises InputError if the number of records differs from what the documents declare."""
    found = connection.ask(
        lambda client: client.search(
            index=backing_index,
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
            f"the Elasticsearch index {backing_index} has {records} records, its documents declare {expected}; "
            "nothing was committed: run the command again, or rebuild the index with ingestion=rebuild"
        )
    levels, corpora = (
        {row["key"]: row["doc_count"] for row in buckets}
        for buckets in (counts["levels"]["buckets"], counts["documents_of"]["corpora"]["buckets"])
    )
    return Counts(counts["documents"]["value"], records, levels, corpora)


def number(connection: Connection, backing_index: str, query: JsonObject) -> int:
    """Number of records that match a query."""
    return int(connection.ask(lambda client: client.count(index=backing_index, query=query))["count"])


def delete(
    connection: Connection,
    bulk: Bulk,
    backing_index: str,
    query: JsonObject,
    require: Callable[[], None],
) -> None:
    """Deletes the records that match a query for good; calls `require`, which checks the lease, before each page."""
    connection.ask(lambda client: client.indices.refresh(index=backing_index))
    with point_in_time(connection, backing_index) as snapshot:
        rows = scan(connection, snapshot, query)
        while some := list(islice(rows, WINDOW)):
            require()
            bulk.put(writable(backing_index), _deletions(some))
    bulk.drain()
    connection.ask(lambda client: client.indices.refresh(index=backing_index))


def delete_some(connection: Connection, bulk: Bulk, backing_index: str, query: JsonObject) -> int:
    """Starts to delete up to `SOME` records that match a query as of the last refresh; returns their number.

    The next refresh makes the deletions effective.
    """
    found = connection.ask(
        lambda client: client.search(
            index=backing_index,
            query={"bool": {"filter": [query]}},
            size=SOME,
            sort=[{"_doc": "asc"}],
            source=False,
            track_total_hits=False,
            allow_partial_search_results=False,
        )
    )
    rows = found["hits"]["hits"]
    bulk.put(writable(backing_index), _deletions(rows))
    return len(rows)


def _deletions(rows: Iterable[JsonObject]) -> Iterator[Action]:
    return (action("delete", row["_id"], None, row["_id"], routing=row.get("_routing")) for row in rows)


def _declared_records(row: JsonObject) -> int:
    """The number of records that the row's document declares; stored in its first record, 0 for the others."""
    return int(row["fields"].get("records", [0])[0])
