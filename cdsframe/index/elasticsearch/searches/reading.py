"""Searches the committed records: many requests in one round trip, all from the same commit.

Writes nothing. Each round trip also fetches the state document. If it shows another commit than the one searched, the
round is repeated. So every process sees an acknowledged commit, mostly without a second round trip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

from cdsframe.contracts import Choose
from cdsframe.errors import ConfigError, InputError
from cdsframe.index.elasticsearch.commits.ledger import Ledger, State, shown
from cdsframe.index.elasticsearch.mapping import conditions, decoded, digested, of_documents
from cdsframe.index.elasticsearch.searches.searching import (
    BY_COLUMN,
    WITH_TEXT,
    Searches,
    first_limit,
    hits_of,
    ties_on,
)
from cdsframe.index.elasticsearch.server.connection import BUSY, Connection, backoff, reason
from cdsframe.index.elasticsearch.server.scanning import WINDOW, point_in_time, scan
from cdsframe.index.ordinal_ranges import OrdinalRange, merged
from cdsframe.metadata import require_known
from cdsframe.types import Filters, Hit, JsonObject, Level, Passage, Request

GRACE = 5.0
"""Seconds that superseded records are kept for searches in progress; a slower search checks the commit again."""

_MOMENT = 1.0
"""Seconds that a cached state is current enough to report `levels`."""

_PAGE = 1_000
"""Maximum number of full records in one response."""

_CLAUSES = 200
"""Maximum number of ordinal ranges in one query; Elasticsearch accepts at least a thousand clauses."""


class CommittedReader:
    """Reads the records that a ledger's committed state shows.

    Args:
        connection: to the server.
        ledger: holds the commit state.
        require: raises if the index was built with other settings than the configuration's.
        searches: builds the search requests.
    """

    def __init__(
        self, connection: Connection, ledger: Ledger, require: Callable[[State], None], searches: Searches
    ) -> None:
        self._connection, self._ledger, self._require, self._searches = connection, ledger, require, searches
        self._cached: State | None = None
        self._cached_at = 0.0

    def committed(self, until: float | None = None) -> State:
        """The current state. Raises ConfigError if nothing is committed."""
        state = self._ledger.read(until)
        if state is None or state.view is None:
            name = self._ledger.name
            raise ConfigError(
                f"there is no index {name} on the Elasticsearch server at {self._connection.where}; make one: python "
                f"ingest.py index=elasticsearch index.name={name}"
            )
        return state

    def cache(self, state: State) -> None:
        """Caches a state that this process has written or read; a state without a commit empties the cache."""
        self._cached, self._cached_at = state if state.view else None, time.monotonic()

    def recent(self) -> State | None:
        """The index's commit state, at most `_MOMENT` seconds old; None if the index does not exist."""
        if self._cached is None or time.monotonic() - self._cached_at > _MOMENT:
            state = self._ledger.read()
            if state is None or state.view is None:
                return state
            self.cache(state)
        return self._cached

    # -------------------------------------------------------------------------------------------- searching

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        """One list of hits per request, ordered by score and id, filtered by `choose` if given."""
        for request in requests:
            if request.k > WINDOW:
                raise InputError(
                    f"index=elasticsearch returns at most {WINDOW} hits per search, {request.k} were requested; lower "
                    "retriever.top_k and retriever.num_candidates"
                )
        if not requests:
            return []
        until = self._connection.deadline()
        if choose is None:
            return self._found(requests, WITH_TEXT, until)[0]
        tries = 0
        while True:
            found, state = self._found(requests, BY_COLUMN, until)
            chosen = choose(found)
            wanted = {hit.passage.key for hits in chosen for hit in hits}
            whole = self._whole(list(wanted), state, until)
            if len(whole) == len(wanted):
                return [[replace(hit, passage=whole[hit.passage.key]) for hit in hits] for hits in chosen]
            tries += 1  # some of the records were superseded and removed meanwhile
            self._retry_or_raise([{"status": 404}], state, tries, until)

    def _found(self, requests: Sequence[Request], options: JsonObject, until: float) -> tuple[list[list[Hit]], State]:
        """The hits of each request, ties for the last place broken by id, and the state that was searched."""
        limits = [first_limit(request) for request in requests]
        while True:

            def searches(state: State) -> list[JsonObject | None]:
                bodies = [
                    self._searches.body(one, limit, self._ledger.name, state)
                    for one, limit in zip(requests, limits, strict=True)
                ]
                return [None if body is None else body | options for body in bodies]

            answers, state = self._round(searches, until)
            short = [n for n, answer in enumerate(answers) if ties_on(requests[n], answer, limits[n])]
            if not short:
                return [hits_of(request, answer) for request, answer in zip(requests, answers, strict=True)], state
            for n in short:  # more hits may tie with the last one
                limits[n] = min(4 * limits[n], WINDOW)

    def _whole(self, keys: Sequence[tuple[Level, str]], state: State, until: float) -> dict[tuple[Level, str], Passage]:
        """Reads the full records of these keys as of a state. Omits records that were removed meanwhile."""
        bodies = []
        for level, group in groupby(sorted(keys), lambda key: key[0]):
            ids = [id for _, id in group]
            for first in range(0, len(ids), _PAGE):
                some = [{"terms": {"id": ids[first : first + _PAGE]}}, {"term": {"level": level}}, shown(state).query]
                bodies.append(
                    {"index": state.backing_index, "query": {"bool": {"filter": some}}, "size": _PAGE, **WITH_TEXT}
                )
        tries = 0
        while bodies:
            pages = self._send(bodies, until)[1:]
            faults = [page for page in pages if "error" in page and page["status"] != 404]
            if not faults:
                rows = [row for page in pages if "hits" in page for row in page["hits"]["hits"]]
                return {record.key: record for record in (decoded(row["_source"]) for row in rows)}
            tries += 1
            self._retry_or_raise(faults, state, tries, until)
        return {}

    def passages(self, document_ids: Sequence[str], level: Level) -> list[Passage]:
        """All records of one level of the documents, ordered by document id and ordinal."""
        ids = list(dict.fromkeys(document_ids))
        parts = [of_documents(ids[first : first + _PAGE]) for first in range(0, len(ids), _PAGE) or [0]]
        return self._records(parts, level, of_any_settings=True)

    def between(self, ranges: Sequence[OrdinalRange]) -> list[Passage]:
        """The passages in the ranges, both ends included."""
        either = [
            {"bool": {"filter": [of_documents([document_id]), {"range": {"ordinal": {"gte": first, "lte": last}}}]}}
            for document_id, first, last in merged(ranges)
        ]
        parts = [{"bool": {"should": either[first : first + _CLAUSES]}} for first in range(0, len(either), _CLAUSES)]
        return self._records(parts or [of_documents([])], "passage")

    def holds(self, filter: Filters) -> bool:
        """Whether any passage matches the filter."""
        return bool(self._counted(filter, {"track_total_hits": 1}).get("hits", {}).get("total", {}).get("value"))

    def values(self, field: str, filter: Filters, limit: int) -> list[str]:
        """The most frequent values of a field among the passages that match the filter, without digests of long
        values."""
        require_known([field], self._searches.mapping.known_fields)
        terms = {"values": {"terms": {"field": field, "size": limit}}}
        found = self._counted(filter, {"aggregations": terms, "track_total_hits": False})
        rows = found["aggregations"]["values"]["buckets"] if found else []
        return [row["key"] for row in rows if not digested(row["key"])]

    def _counted(self, filter: Filters, options: JsonObject) -> JsonObject:
        """The response, without hits, to a search among the passages that match the filter; {} if none can match."""
        wanted = conditions(filter, self._searches.mapping.known_fields)
        if wanted is None:
            return {}
        with self.snapshot() as (snapshot, state):
            found = self._connection.ask(
                lambda client: client.search(
                    pit={"id": snapshot, "keep_alive": "1m"},
                    query={"bool": {"filter": [*wanted, {"term": {"level": "passage"}}, shown(state).query]}},
                    size=0,
                    allow_partial_search_results=False,
                    **options,
                )
            )
        return dict(found)

    def _records(self, parts: Sequence[JsonObject], level: Level, *, of_any_settings: bool = False) -> list[Passage]:
        """The records of one level that match any of the conditions, ordered by document id and ordinal."""
        found: list[Passage] = []
        for part in parts:

            def query(state: State, part: JsonObject = part) -> JsonObject:
                return {"bool": {"filter": [part, {"term": {"level": level}}, shown(state).query]}}

            def search(state: State, query: Callable[[State], JsonObject] = query) -> list[JsonObject | None]:
                return [{"index": state.backing_index, "query": query(state), "size": _PAGE, **WITH_TEXT}]

            (rows,), _ = self._round(search, self._connection.deadline(), of_any_settings=of_any_settings)
            if len(rows) == _PAGE:
                with self.snapshot(of_any_settings=of_any_settings) as (snapshot, state):
                    rows = list(scan(self._connection, snapshot, query(state), size=_PAGE, **WITH_TEXT))
            found += [decoded(row["_source"]) for row in rows]
        return sorted(found, key=lambda passage: (passage.document_id, passage.ordinal))

    def _round(
        self, searches: Callable[[State], list[JsonObject | None]], until: float, *, of_any_settings: bool = False
    ) -> tuple[list[list[Any]], State]:
        """Returns the hits of all searches at the latest commit, and that commit's state.

        Raises IndexMismatchError if the index was built with other settings, unless `of_any_settings`.
        """
        state = self._cached or self.committed(until)
        tries = 0
        while True:
            if not of_any_settings:
                self._require(state)
            bodies = searches(state)
            asked = [body for body in bodies if body is not None]
            started = time.monotonic()
            answers = self._send(asked, until)
            faults = [answer for answer in answers if "error" in answer]
            if faults:
                tries += 1
                self._retry_or_raise(faults, state, tries, until)
                state = self.committed(until)
                continue
            if time.monotonic() - started > GRACE:
                now = self.committed(until)
            else:
                found = answers[0]["hits"]["hits"]
                now = self._ledger.parsed(found[0]["_source"]) if found else self.committed(until)
            if now.commit == state.commit:
                self.cache(state)
                rest = iter(answers[1:])
                return [[] if body is None else next(rest)["hits"]["hits"] for body in bodies], state
            state = now

    def _send(self, bodies: Sequence[JsonObject], until: float) -> list[Any]:
        """The responses to the search for the state document and to the other searches."""
        state = {"query": {"ids": {"values": [self._ledger.document]}}, "index": self._ledger.index, "size": 1}
        text = self._searches.written([state, *bodies])
        answer = self._connection.ask(lambda client: client.msearch(searches=text), until)  # type: ignore[arg-type]
        return list(answer["responses"])

    def _retry_or_raise(self, faults: Sequence[JsonObject], state: State, tries: int, until: float) -> None:
        """Waits if a retry may succeed; raises otherwise."""
        kinds = {(fault["status"], reason(fault)) for fault in faults}
        status, kind = sorted(kinds)[-1]
        gone = status == 404
        if gone and tries > 1 and self.committed(until).commit == state.commit:
            raise ConfigError(
                f"index: {self._ledger.name} is damaged: the Elasticsearch index {state.backing_index} is missing; "
                f"delete the index {self._ledger.index} and ingest again"
            )
        pause = backoff(tries)
        if not (gone or status in BUSY) or time.monotonic() + pause > until:
            raise InputError(
                f"the Elasticsearch server at {self._connection.where} cannot search the index {self._ledger.name}: "
                f"{kind} (status {status})"
            )
        time.sleep(pause)

    @contextmanager
    def snapshot(self, *, of_any_settings: bool = False) -> Iterator[tuple[str, State]]:
        """A point in time for `scan`, and the state that it shows.

        Raises IndexMismatchError if the index was built with other settings, unless `of_any_settings`.
        """
        from elasticsearch import NotFoundError

        until, tries = self._connection.deadline(), 0
        while True:
            state = self.committed(until)
            if not of_any_settings:
                self._require(state)
            started = time.monotonic()
            try:
                with point_in_time(self._connection, str(state.backing_index)) as snapshot:
                    if time.monotonic() - started < GRACE or self.committed(until).commit == state.commit:
                        yield snapshot, state
                        return
            except NotFoundError:
                tries += 1
                self._retry_or_raise([{"status": 404}], state, tries, until)
