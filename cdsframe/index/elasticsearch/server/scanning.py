"""Pages through all records of an index that match a query at one point in time. Does not know about commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cdsframe.index.elasticsearch.server.connection import Connection
from cdsframe.types import JsonObject

WINDOW = 10_000
"""Maximum number of hits per search (`index.max_result_window`) and of candidates of a kNN search."""


@contextmanager
def point_in_time(connection: Connection, backing_index: str) -> Iterator[str]:
    """Yields the id of a point in time: the index as of its last refresh, committed or not."""
    from elasticsearch import NotFoundError

    opened = connection.ask(
        lambda client: client.open_point_in_time(index=backing_index, keep_alive="5m"), expected=(404,)
    )
    try:
        yield opened["id"]
    finally:
        with suppress(NotFoundError):  # already closed; the response was lost
            connection.ask(lambda client: client.close_point_in_time(id=opened["id"]), expected=(404,))


def scan(
    connection: Connection, point: str, query: JsonObject, size: int = WINDOW, **options: Any
) -> Iterator[JsonObject]:
    """Yields all rows of a point in time that match a query, by default in `_shard_doc` order."""
    options = {"sort": ["_shard_doc"], "track_total_hits": False} | options
    source = options.pop("_source", False)
    after: list[Any] | None = None
    while True:
        page = connection.ask(
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
