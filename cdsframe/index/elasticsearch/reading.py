"""Searches and scans of the committed records: many requests in one round trip, all of the same commit.

Writes nothing. A round of searches carries one for the state document: where that shows another commit than the one
that was searched, the round is done again. So what a writer has acknowledged is seen by every process, mostly without a
second round trip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from typing import Any
from zlib import crc32

from cdsframe.errors import ConfigError, InputError
from cdsframe.index.elasticsearch.connection import BUSY, Connection, backoff, reason
from cdsframe.index.elasticsearch.layout import BARE, Layout, View, bare, conditions, decoded, required, searchable
from cdsframe.index.elasticsearch.ledger import Ledger, State
from cdsframe.index.identity import require_dimension
from cdsframe.types import Choose, Hit, JsonObject, Level, Passage, Request

GRACE = 5.0
"""Seconds that superseded records stay for searches that began before: a slower one looks whether it is still valid."""

WINDOW = 10_000
"""The most hits that the engine gives at once (`index.max_result_window`), and the most candidates of a kNN search."""

_TIES = 8
"""Hits beyond `k` that a kNN search asks for, to see whether the last one ties."""

_MOMENT = 1.0
"""Seconds that what was seen of the state counts as new, where nothing but the levels depends on it."""

_PAGE = 1_000
"""Whole records that are fetched at once."""

_WHOLE = {"_source": {"excludes": ["*.vector"]}, "track_total_hits": False}
"""With the records' text."""

_BARE = {"stored_fields": "_none_", "docvalue_fields": [BARE], "track_total_hits": False}
"""With what is kept by column only: half the time of a search, which would open a hundred records."""


class Reader:
    """Reads what one ledger says is committed.

    Args:
        connection: to the server.
        ledger: where the commit stands.
        require: raises where the index was made by other settings than the configuration has.
        num_candidates: neighbours that the engine looks at in each shard, at least twice as many as are asked for.
        oversample: how many times as many hits as are asked for are compared by their exact vectors; 0: none.
        layout: what the index was made with.
    """

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        require: Callable[[State], None],
        num_candidates: int,
        oversample: float,
        layout: Layout,
    ) -> None:
        self._connection, self._ledger, self._require = connection, ledger, require
        self._num_candidates, self._oversample, self._layout = num_candidates, oversample, layout
        self._seen: State | None = None
        self._looked = 0.0

    def committed(self, until: float | None = None) -> State:
        """The state as it is. Raises ConfigError where nothing was committed yet, or by other settings."""
        state = self._ledger.read(until)
        if state is None or state.view is None:
            name = self._ledger.name
            raise ConfigError(
                f"there is no index {name} on the Elasticsearch server at {self._connection.where}; make one: python "
                f"ingest.py index=elasticsearch index.name={name}"
            )
        self._require(state)
        return state

    def saw(self, state: State) -> None:
        """Takes note of a state that this process has written itself."""
        self._seen, self._looked = state if state.view else None, time.monotonic()

    def last(self) -> State | None:
        """The state as it is, or was a moment ago."""
        if self._seen is None or time.monotonic() - self._looked > _MOMENT:
            state = self._ledger.read()
            if state is None or state.view is None:
                return state
            self.saw(state)
        return self._seen

    # -------------------------------------------------------------------------------------------- searching

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        """One list of hits for each request, ordered by score and id, or those of them that `choose` gives."""
        for request in requests:
            if request.k > WINDOW:
                raise InputError(
                    f"index=elasticsearch gives at most {WINDOW} hits for a search, {request.k} were asked for; lower "
                    "retriever.top_k and retriever.num_candidates"
                )
        if not requests:
            return []
        until = self._connection.deadline()
        if choose is None:
            return self._found(requests, _WHOLE, until)[0]
        tries = 0
        while True:
            found, state = self._found(requests, _BARE, until)
            chosen = choose(found)
            wanted = {hit.passage.key for hits in chosen for hit in hits}
            whole = self._whole(list(wanted), state, until)
            if len(whole) == len(wanted):
                return [[replace(hit, passage=whole[hit.passage.key]) for hit in hits] for hits in chosen]
            tries += 1  # they were superseded and removed in the meantime
            self._bear([{"status": 404}], state, tries, until)

    def _found(self, requests: Sequence[Request], options: JsonObject, until: float) -> tuple[list[list[Hit]], State]:
        """The hits of each request with all that tie with the last one, cut by id; and the state that they show."""
        limits = [request.k if request.vector is None else min(request.k + _TIES, WINDOW) for request in requests]
        while True:

            def searches(state: State) -> list[JsonObject | None]:
                bodies = [self._body(one, limit, state) for one, limit in zip(requests, limits, strict=True)]
                return [None if body is None else body | options for body in bodies]

            answers, state = self._round(searches, until)
            short = [n for n, answer in enumerate(answers) if _ties_on(requests[n], answer, limits[n])]
            if not short:
                return [_hits(request, answer) for request, answer in zip(requests, answers, strict=True)], state
            for n in short:  # ties are cut by id, and there may be more of them than these
                limits[n] = min(4 * limits[n], WINDOW)

    def _whole(self, keys: Sequence[tuple[Level, str]], state: State, until: float) -> dict[tuple[Level, str], Passage]:
        """Key -> record, of those that can still be read of a state."""
        bodies = []
        for level, group in groupby(sorted(keys), lambda key: key[0]):
            ids = [id for _, id in group]
            for first in range(0, len(ids), _PAGE):
                some = [{"terms": {"id": ids[first : first + _PAGE]}}, {"term": {"level": level}}, _view(state).query]
                bodies.append({"index": state.physical, "query": {"bool": {"filter": some}}, "size": _PAGE, **_WHOLE})
        tries = 0
        while bodies:
            pages = self._send(bodies, until)[1:]
            faults = [page for page in pages if "error" in page and page["status"] != 404]
            if not faults:
                rows = [row for page in pages if "hits" in page for row in page["hits"]["hits"]]
                return {record.key: record for record in (decoded(row["_source"]) for row in rows)}
            tries += 1
            self._bear(faults, state, tries, until)
        return {}

    def passages(self, document_ids: Sequence[str], level: Level) -> list[Passage]:
        """All records of one level of the documents, ordered by document id and ordinal."""
        ids = list(dict.fromkeys(document_ids))
        found: list[Passage] = []
        for first in range(0, len(ids), _PAGE) or [0]:
            wanted = [required(ids[first : first + _PAGE]), {"term": {"level": level}}]

            def some(state: State, wanted: list[JsonObject] = wanted) -> list[JsonObject | None]:
                query = {"bool": {"filter": [*wanted, _view(state).query]}}
                return [{"index": state.physical, "query": query, "size": _PAGE, **_WHOLE}]

            (rows,), _ = self._round(some, self._connection.deadline())
            if len(rows) == _PAGE:
                with self.snapshot() as (snapshot, state):
                    query = {"bool": {"filter": [*wanted, _view(state).query]}}
                    rows = list(self.scan(snapshot, query, size=_PAGE, **_WHOLE))
            found += [decoded(row["_source"]) for row in rows]
        return sorted(found, key=lambda passage: (passage.document_id, passage.ordinal))

    def _body(self, request: Request, limit: int, state: State) -> JsonObject | None:
        """One search; None where nothing can be found."""
        import numpy as np

        filters = conditions(request.filter)
        if filters is None:
            return None
        filters.append(_view(state).query)
        body: JsonObject = {"index": state.physical, "size": limit}
        body["routing"] = self._layout.routes(request.filter)
        if request.text is not None:
            if not request.text.strip():
                return None
            match = {"match": {f"{request.level}.words": {"query": searchable(request.text)}}}
            sort = [{"_score": "desc"}, {"id": "asc"}]
            return body | {"query": {"bool": {"must": [match], "filter": filters}}, "sort": sort}
        require_dimension(self._ledger.name, state.dimension, len(request.vector or ()))
        vector = np.asarray(request.vector, dtype=np.float32)
        if not vector.any():  # near to nothing
            return None
        if self._layout.algorithm == "flat":  # with a filter, it also gives records that have no vector in the field
            filters.append({"term": {"level": request.level}})
        knn: JsonObject = {
            "field": f"{request.level}.vector",
            "query_vector": vector,
            "k": limit,
            "num_candidates": min(max(self._num_candidates, 2 * limit), WINDOW),
            "filter": filters,
        }
        if self._oversample:
            knn["rescore_vector"] = {"oversample": self._oversample}
        return body | {"query": {"knn": knn}}

    def _round(
        self, searches: Callable[[State], list[JsonObject | None]], until: float
    ) -> tuple[list[list[Any]], State]:
        """The hits of each search, all of them of one commit, the last that there is; and its state."""
        state = self._seen or self.committed(until)
        self._require(state)
        tries = 0
        while True:
            bodies = searches(state)
            asked = [body for body in bodies if body is not None]
            started = time.monotonic()
            answers = self._send(asked, until)
            faults = [answer for answer in answers if "error" in answer]
            if faults:
                tries += 1
                self._bear(faults, state, tries, until)
                state = self.committed(until)
                continue
            if time.monotonic() - started > GRACE:
                now = self.committed(until)
            else:
                found = answers[0]["hits"]["hits"]
                now = self._ledger.parsed(found[0]["_source"]) if found else self.committed(until)
            if now.commit == state.commit:
                self.saw(state)
                rest = iter(answers[1:])
                return [[] if body is None else next(rest)["hits"]["hits"] for body in bodies], state
            self._require(now)
            state = now

    def _send(self, bodies: Sequence[JsonObject], until: float) -> list[Any]:
        """The answers to the search for the state document and to the others."""
        import orjson

        state = {"query": {"ids": {"values": [self._ledger.document]}}, "index": self._ledger.index, "size": 1}
        lines: list[bytes] = []
        for body in (state, *bodies):
            index = body["index"]
            rest = {key: value for key, value in body.items() if key not in ("index", "routing")}
            query = orjson.dumps(rest, option=orjson.OPT_SERIALIZE_NUMPY)
            # One question always goes to the same copy of a shard: copies differ in what they have tidied up.
            header = {"index": index, "preference": str(crc32(query)), "allow_partial_search_results": False}
            if self._layout.shards > 1 and "sort" in body:
                header["search_type"] = "dfs_query_then_fetch"  # BM25's statistics are gathered from all shards first
            if body.get("routing"):
                header["routing"] = body["routing"]
            lines += [orjson.dumps(header), query]
        text = b"\n".join(lines) + b"\n"
        answer = self._connection.ask(lambda client: client.msearch(searches=text), until)  # type: ignore[arg-type]
        return list(answer["responses"])

    def _bear(self, faults: Sequence[JsonObject], state: State, tries: int, until: float) -> None:
        """Waits where the same searches may be answered later; raises where they will not be."""
        kinds = {(fault["status"], reason(fault)) for fault in faults}
        status, kind = sorted(kinds)[-1]
        gone = status == 404
        if gone and tries > 1 and self.committed(until).commit == state.commit:
            raise ConfigError(
                f"index: {self._ledger.name} is damaged: the Elasticsearch index {state.physical} is gone; delete the "
                f"index {self._ledger.index} and ingest again"
            )
        pause = backoff(tries)
        if not (gone or status in BUSY) or time.monotonic() + pause > until:
            raise InputError(
                f"the Elasticsearch server at {self._connection.where} cannot search the index {self._ledger.name}: "
                f"{kind} (status {status})"
            )
        time.sleep(pause)

    # -------------------------------------------------------------------------------------------- scanning

    @contextmanager
    def snapshot(self) -> Iterator[tuple[str, State]]:
        """A point in time that `scan` reads, and the state that it shows."""
        from elasticsearch import NotFoundError

        until, tries = self._connection.deadline(), 0
        while True:
            state = self.committed(until)
            started = time.monotonic()
            try:
                with self.point(str(state.physical)) as point:
                    if time.monotonic() - started < GRACE or self.committed(until).commit == state.commit:
                        yield point, state
                        return
            except NotFoundError:
                tries += 1
                self._bear([{"status": 404}], state, tries, until)

    @contextmanager
    def point(self, physical: str) -> Iterator[str]:
        """A point in time of an index as it was refreshed last, committed or not."""
        from elasticsearch import NotFoundError

        opened = self._connection.ask(
            lambda client: client.open_point_in_time(index=physical, keep_alive="5m"), expected=(404,)
        )
        try:
            yield opened["id"]
        finally:
            with suppress(NotFoundError):  # it is closed, and that answer got lost
                self._connection.ask(lambda client: client.close_point_in_time(id=opened["id"]), expected=(404,))

    def scan(self, point: str, query: JsonObject, size: int = WINDOW, **options: Any) -> Iterator[JsonObject]:
        """All rows of a point in time that fulfil a condition, by default in the engine's order."""
        options = {"sort": ["_shard_doc"], "track_total_hits": False} | options
        source = options.pop("_source", False)
        after: list[Any] | None = None
        while True:
            page = self._connection.ask(
                lambda client, after=after: client.search(  # type: ignore[misc]
                    pit={"id": point, "keep_alive": "5m"},
                    query={"bool": {"filter": [query]}},
                    size=size,
                    search_after=after,
                    source=source,
                    allow_partial_search_results=False,
                    **options,
                )
            )
            rows = page["hits"]["hits"]
            yield from rows
            if len(rows) < size:
                return
            after = rows[-1]["sort"]


def _view(state: State) -> View:
    assert state.view is not None  # noqa: S101 (a reader's state is a committed one)
    return state.view


def _ties_on(request: Request, rows: Sequence[JsonObject], limit: int) -> bool:
    """Whether a kNN search's list was cut between hits of equal score."""
    cut = request.vector is not None and len(rows) == limit < WINDOW
    return cut and bool(rows[request.k - 1]["_score"] == rows[-1]["_score"])


def _hits(request: Request, rows: Sequence[JsonObject]) -> list[Hit]:
    """The rows as hits. The engine's score of a vector is (1 + cosine) / 2."""
    passages = [
        decoded(row["_source"]) if "_source" in row else bare(row["fields"][BARE][0], request.level) for row in rows
    ]
    if request.text is not None:
        scored = [(row["sort"][0], passage) for row, passage in zip(rows, passages, strict=True)]
    else:
        scored = [(2.0 * row["_score"] - 1.0, passage) for row, passage in zip(rows, passages, strict=True)]
        scored.sort(key=lambda item: (-item[0], item[1].id))
    return [Hit(passage, score, rank) for rank, (score, passage) in enumerate(scored[: request.k], start=1)]
