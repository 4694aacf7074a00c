"""Searches a Lance table by BM25 and by vectors under a filter, several requests at once.

Hits are found without text, ordered by score and id; text is read for the chosen hits only. Does not know which version
of the table is committed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from cdsframe.contracts import Choose
from cdsframe.index.table import AT_ONCE, COLUMNS, WITHOUT_TEXT, metadata_columns, passage_of, words
from cdsframe.metadata import require_known
from cdsframe.text.search_form import search_words
from cdsframe.types import Filters, Hit, Level, Passage, Request

_THREADS = max(2, min(8, os.cpu_count() or 1))
"""Concurrent searches of one table."""

_VECTORS_AT_ONCE = 32
"""Maximum number of query vectors per scan of the table: one scan costs a tenth of as many single searches."""


def search(table: Any, levels: frozenset[Level], requests: Sequence[Request], choose: Choose | None) -> list[list[Hit]]:
    """One list of hits per request, ordered by score and id, filtered by `choose` if given.

    `levels`: the levels that the table contains.
    """
    rows: dict[tuple[Level, str], int] = {}
    found = _search(table, levels, requests, rows)
    chosen = found if choose is None else choose(found)
    whole = _whole(table, sorted({rows[hit.passage.key] for hits in chosen for hit in hits}))
    return [[replace(hit, passage=whole[hit.passage.key]) for hit in hits] for hits in chosen]


def _whole(table: Any, numbers: Sequence[int]) -> dict[tuple[Level, str], Passage]:
    """Reads the full records of these row ids. Returns key -> record."""
    found = []
    fields = metadata_columns(table)
    for first in range(0, len(numbers), AT_ONCE):
        query = table.take_row_ids(numbers[first : first + AT_ONCE]).select([*COLUMNS, *fields])
        found += [passage_of(row, fields) for row in query.to_arrow().to_pylist()]
    return {record.key: record for record in found}


def _search(
    table: Any, levels: frozenset[Level], requests: Sequence[Request], rows: dict[tuple[Level, str], int]
) -> list[list[Hit]]:
    """The hits of each request, without text. Stores the row id of each hit in `rows`."""
    known = metadata_columns(table)
    for request in requests:
        require_known(request.filter, known)
    results: list[list[Hit]] = [[] for _ in requests]

    def answer(numbers: Sequence[int]) -> None:
        group = [requests[number] for number in numbers]
        first = group[0]
        if first.level not in levels or not all(map(_values, first.filter.values())):
            return  # no record can match
        condition = _condition(first, alone=len(levels) == 1)
        for number, hits in zip(numbers, _hits(table, group, condition, first.k + 8, rows), strict=True):
            results[number] = hits

    groups = _together(requests)
    if len(groups) == 1:
        answer(groups[0])
        return results
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="search") as pool:
        for _ in pool.map(answer, groups):
            pass
    return results


def _together(requests: Sequence[Request]) -> list[list[int]]:
    """Groups requests (by number) for one call each: a text query alone, vectors with the same level, k and filter
    together."""
    groups: dict[Any, list[int]] = {}
    for number, request in enumerate(requests):
        key: Any = number
        if request.vector is not None:
            wanted = sorted((field, _values(value)) for field, value in request.filter.items())
            key = (request.k, request.level, str(wanted))
        groups.setdefault(key, []).append(number)
    size = _VECTORS_AT_ONCE
    return [group[first : first + size] for group in groups.values() for first in range(0, len(group), size)]


def holds(table: Any, filter: Filters) -> bool:
    """Whether any passage matches the filter."""
    return bool(_passages(table, filter).select(["id"]).limit(1).to_arrow().num_rows)


def values(table: Any, field: str, filter: Filters, limit: int) -> list[str]:
    """The most frequent values of a field among the passages that match the filter, by one scan of its column."""
    require_known([field], metadata_columns(table))
    counts = Counter[str]()
    for batch in _passages(table, filter).select([field]).limit(None).to_batches():
        counts.update({row["values"]: row["counts"] for row in batch[field].drop_null().value_counts().to_pylist()})
    return sorted(counts, key=lambda value: (-counts[value], value))[:limit]


def _passages(table: Any, filter: Filters) -> Any:
    """A scan of the passages that match the filter."""
    from lancedb.expr import col, lit

    require_known(filter, metadata_columns(table))
    condition = col("level") == lit("passage")
    for field, value in filter.items():
        wanted = _values(value)
        condition = condition & (col(field).isin(wanted) if wanted else lit(False))
    return table.search().where(condition)


def _condition(request: Request, alone: bool) -> Any | None:
    """LanceDB's condition for a request; None if all records match (`alone`: the table has this level only)."""
    from lancedb.expr import col, lit

    parts = [col(field).isin(_values(value)) for field, value in request.filter.items()]
    if request.vector is not None and not alone:
        parts.append(col("level") == lit(request.level))
    condition = None
    for part in parts:
        condition = part if condition is None else condition & part
    return condition


def _values(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _hits(
    table: Any, group: Sequence[Request], condition: Any | None, limit: int, numbers: dict[tuple[Level, str], int]
) -> list[list[Hit]]:
    """The hits, without text, of each request of a group, from LanceDB's first `limit` rows per request."""
    import numpy as np
    import pyarrow.compute as pc
    from lancedb.query import MatchQuery

    if group[0].text is not None:
        asked = search_words(group[0].text, question=True)
        match = MatchQuery(asked, words(group[0].level))  # type: ignore[call-arg]
        query, score = table.search(match, query_type="fts"), "_score"
    else:
        vectors = np.asarray([request.vector for request in group], dtype=np.float32)
        vectors = vectors if len(group) > 1 else vectors[0]
        query, score = table.search(vectors, vector_column_name="vector").distance_type("cosine"), "_distance"
    if condition is not None:
        query = query.where(condition, prefilter=True)
    rows = query.select([*WITHOUT_TEXT, score]).with_row_id(True).limit(limit).to_arrow()
    keys = [(group[0].level, id) for id in rows["id"].to_pylist()]
    numbers.update(zip(keys, rows["_rowid"].to_pylist(), strict=True))
    results = []
    for number, request in enumerate(group):
        own = rows if len(group) == 1 else rows.filter(pc.field("query_index") == number)
        if len(own) == limit and own[score][request.k - 1] == own[score][-1]:
            # More rows may tie with the last one, and ids break ties: raise the limit until the score falls.
            results += _hits(table, [request], condition, limit * 4, numbers)
        else:
            results.append(_best(own.to_pylist(), score, request.k))
    return results


def _best(rows: Sequence[Mapping[str, Any]], score: str, k: int) -> list[Hit]:
    scored = [(row[score] if score == "_score" else 1.0 - row[score], _without_text(row)) for row in rows]
    scored.sort(key=lambda item: (-item[0], item[1].id))
    return [Hit(passage, points, rank) for rank, (points, passage) in enumerate(scored[:k], start=1)]


def _without_text(row: Mapping[str, Any]) -> Passage:
    heading = tuple(row["heading"])
    return Passage(
        **{name: row[name] for name in WITHOUT_TEXT} | {"heading": heading},
        text="",
        ordinal=0,
        start=0,
        end=0,
        digest="",
    )
