"""All records of an index that fulfil a condition, page by page, at one point in time. Knows nothing of commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cdsframe.index.elasticsearch.connection import Connection
from cdsframe.types import JsonObject

WINDOW = 10_000
"""The most hits that the engine gives at once (`index.max_result_window`), and the most candidates of a kNN search."""


@contextmanager
def point(connection: Connection, physical: str) -> Iterator[str]:
    """A point in time of an index as it was refreshed last, committed or not."""
    from elasticsearch import NotFoundError

    opened = connection.ask(lambda client: client.open_point_in_time(index=physical, keep_alive="5m"), expected=(404,))
    try:
        yield opened["id"]
    finally:
        with suppress(NotFoundError):  # it is closed, and that answer got lost
            connection.ask(lambda client: client.close_point_in_time(id=opened["id"]), expected=(404,))


def scan(
    connection: Connection, point: str, query: JsonObject, size: int = WINDOW, **options: Any
) -> Iterator[JsonObject]:
    """All rows of a point in time that fulfil a condition, by default in the engine's order."""
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
