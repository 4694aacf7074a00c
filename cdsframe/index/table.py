"""The table of a Lance index: its columns, its rows as records, and searches in it.

Each level's text stands in a column of its own, which is null in the rows of other levels: LanceDB counts BM25's
statistics by column. Does not know which version of the table is committed (see `lance`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from cdsframe.errors import InputError
from cdsframe.index.stopwords import STOP_WORDS
from cdsframe.index.stretches import Stretch, disjoint
from cdsframe.types import LEVELS, METADATA_FIELDS, Choose, Filter, Hit, Level, Passage, Request

if TYPE_CHECKING:
    import numpy as np

_BARE = ("id", "document_id", "section_id", "level", "title", "heading")
_COLUMNS = (*_BARE, "text", "ordinal", "start", "end", "digest")

_AT_ONCE = 1000
"""Document ids in one condition."""

_CLAUSES = 100
"""Stretches of documents in one condition."""

_THREADS = max(2, min(8, os.cpu_count() or 1))
"""Searches of one table that are under way at once."""

_VECTORS_AT_ONCE = 32
"""Vectors that one scan of the table is compared with: a batch costs a tenth of as many single searches."""


def schema(dimension: int | None, identity: str) -> Any:
    """The table's columns; `identity` travels with the table, so that what was never committed is known too."""
    import pyarrow as pa

    kinds = {"ordinal": pa.int32(), "start": pa.int64(), "end": pa.int64(), "heading": pa.list_(pa.string())}
    names = (*_COLUMNS, *METADATA_FIELDS, *map(_words, LEVELS))
    fields = [pa.field(name, kinds.get(name, pa.string())) for name in names]
    if dimension is not None:
        fields.append(pa.field("vector", pa.list_(pa.float32(), dimension)))
    return pa.schema(fields, metadata={"identity": identity})


def _words(level: Level) -> str:
    """The column that BM25 reads at a level."""
    return f"words_{level}"


def make_indexes(table: Any, levels: Iterable[Level]) -> None:
    """Indexes for BM25 at these levels, and for the level.

    Made anew, not extended: BM25's statistics then count no deleted record and do not depend on the table's history.
    """
    from lancedb.index import FTS, Bitmap

    for level in levels:
        config = FTS(custom_stop_words=list(STOP_WORDS), max_token_length=64)
        table.create_index(_words(level), config=config, replace=True)
    table.create_index("level", config=Bitmap(), replace=True)


def dimension(table: Any) -> int | None:
    """The length of the table's vectors, None where it has none."""
    return table.schema.field("vector").type.list_size if "vector" in table.schema.names else None


def digests(table: Any) -> dict[str, str]:
    """Document id -> digest."""
    return contents(table)[0]


def contents(table: Any) -> tuple[dict[str, str], dict[Level, int]]:
    """Document id -> digest, and level -> how many records it has."""
    rows = table.search().select(["document_id", "digest", "level"]).limit(None).to_arrow()
    documents = rows.group_by("document_id").aggregate([("digest", "max")])  # a document's records have the same
    counts = {row["values"]: row["counts"] for row in rows["level"].value_counts().to_pylist()}
    return dict(zip(*(documents[name].to_pylist() for name in ("document_id", "digest_max")), strict=True)), {
        level: counts[level] for level in LEVELS if level in counts
    }


def pieces(table: Any) -> int:
    """How many files the table's rows are spread over."""
    return table.stats()["fragment_stats"]["num_fragments"]


def add(table: Any, records: Sequence[Passage], vectors: np.ndarray | None) -> None:
    """Appends records, with vectors `[n, dimension]` where the table has them.

    Those of one level come together: a search among them then reads a few stretches of the file, not single rows.
    """
    import pyarrow as pa

    order = sorted(range(len(records)), key=lambda number: LEVELS.index(records[number].level))
    records = [records[number] for number in order]
    columns: dict[str, Any] = {name: [getattr(record, name) for record in records] for name in _COLUMNS}
    columns |= {field: [record.metadata.get(field) for record in records] for field in METADATA_FIELDS}
    for level in LEVELS:
        columns[_words(level)] = [record.search_text if record.level == level else None for record in records]
    if vectors is not None:
        flat = pa.array(vectors[order].astype("float32", copy=False).ravel())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table.add(pa.table(columns, schema=table.schema))


def create(database: Any, name: str, schema: Any) -> Any:
    """A new table, in the place of one of that name.

    In Lance's file format 2.0: from 2.1 on a page with one long text among nulls is repeated for each of them when it
    is read, which ends in an overflow from a few megabytes on.
    """
    options = {"new_table_data_storage_version": "2.0"}
    return database.create_table(name, schema=schema, mode="overwrite", storage_options=options)


def copy(table: Any, database: Any, name: str, without: Sequence[str]) -> Any:
    """A new table, in files of its own, of the rows that are not deleted and not of the documents `without`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns, gone = table.schema.names, pa.array(without, pa.string())
    batches = table.search().select(columns).limit(None).to_batches()
    kept = (batch.select(columns).filter(pc.invert(pc.is_in(batch["document_id"], gone))) for batch in batches)
    made = create(database, name, table.schema)
    made.add(pa.RecordBatchReader.from_batches(table.schema, kept))
    return made


def delete(table: Any, document_ids: Sequence[str]) -> None:
    """Removes all records of the documents."""
    from lancedb.expr import col

    ids = list(dict.fromkeys(document_ids))
    for first in range(0, len(ids), _AT_ONCE):
        table.delete(col("document_id").isin(ids[first : first + _AT_ONCE]))


def of_documents(table: Any, document_ids: Sequence[str], level: Level) -> list[Passage]:
    """All records of one level of the documents, ordered by document id and ordinal."""
    from lancedb.expr import col

    ids = list(dict.fromkeys(document_ids))
    parts = [col("document_id").isin(ids[first : first + _AT_ONCE]) for first in range(0, len(ids), _AT_ONCE)]
    return _records(table, parts, level)


def between(table: Any, stretches: Sequence[Stretch]) -> list[Passage]:
    """The passages of documents from one ordinal to another, both included, ordered by document id and ordinal."""
    from lancedb.expr import col, lit

    either = [
        (col("document_id") == lit(document_id)) & (col("ordinal") >= lit(first)) & (col("ordinal") <= lit(last))
        for document_id, first, last in disjoint(stretches)
    ]
    parts = [reduce(or_, either[first : first + _CLAUSES]) for first in range(0, len(either), _CLAUSES)]
    return _records(table, parts, "passage")


def _records(table: Any, parts: Sequence[Any], level: Level) -> list[Passage]:
    """The records of one level that fulfil one of some conditions, ordered by document id and ordinal."""
    from lancedb.expr import col, lit

    found: list[Passage] = []
    for part in parts:
        query = table.search().where(part & (col("level") == lit(level))).select([*_COLUMNS, *METADATA_FIELDS])
        found += [_passage(row) for row in query.limit(None).to_arrow().to_pylist()]
    return sorted(found, key=lambda passage: (passage.document_id, passage.ordinal))


def search(table: Any, levels: frozenset[Level], requests: Sequence[Request], choose: Choose | None) -> list[list[Hit]]:
    """One list of hits for each request, ordered by score and id, or those of them that `choose` gives.

    `levels` are those that the rows have.
    """
    rows: dict[tuple[Level, str], int] = {}
    found = _search(table, levels, requests, rows)
    chosen = found if choose is None else choose(found)
    whole = _whole(table, sorted({rows[hit.passage.key] for hits in chosen for hit in hits}))
    return [[replace(hit, passage=whole[hit.passage.key]) for hit in hits] for hits in chosen]


def _whole(table: Any, numbers: Sequence[int]) -> dict[tuple[Level, str], Passage]:
    """Key -> record, of the rows of these numbers."""
    found = []
    for first in range(0, len(numbers), _AT_ONCE):
        query = table.take_row_ids(numbers[first : first + _AT_ONCE]).select([*_COLUMNS, *METADATA_FIELDS])
        found += [_passage(row) for row in query.to_arrow().to_pylist()]
    return {record.key: record for record in found}


def _search(
    table: Any, levels: frozenset[Level], requests: Sequence[Request], rows: dict[tuple[Level, str], int]
) -> list[list[Hit]]:
    """The hits of each request, their records bare; notes in `rows` the row of each."""
    for request in requests:
        _require_fields(request.filter)
    results: list[list[Hit]] = [[] for _ in requests]

    def answer(numbers: Sequence[int]) -> None:
        group = [requests[number] for number in numbers]
        first = group[0]
        if first.level not in levels or not all(map(_values, first.filter.values())):
            return  # no record can fulfil it
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
    """The numbers of the requests in groups that one call answers: a text alone, vectors under the same condition."""
    groups: dict[Any, list[int]] = {}
    for number, request in enumerate(requests):
        key: Any = number
        if request.vector is not None:
            wanted = sorted((field, _values(value)) for field, value in request.filter.items())
            key = (request.k, request.level, str(wanted))
        groups.setdefault(key, []).append(number)
    size = _VECTORS_AT_ONCE
    return [group[first : first + size] for group in groups.values() for first in range(0, len(group), size)]


def _require_fields(filter: Filter) -> None:
    """Raises InputError where a filter names a field that no record has."""
    for field in filter:
        if field not in METADATA_FIELDS:
            raise InputError(f"no metadata field {field} to filter by; there are {', '.join(METADATA_FIELDS)}")


def _condition(request: Request, alone: bool) -> Any | None:
    """The engine's condition for a request; None where all records fulfil it (`alone`: no other level has any)."""
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
    """The bare hits of each request of a group, from the engine's first `limit` rows for each."""
    import numpy as np
    import pyarrow.compute as pc
    from lancedb.query import MatchQuery

    if group[0].text is not None:
        match = MatchQuery(group[0].text, _words(group[0].level))  # type: ignore[call-arg]
        query, score = table.search(match, query_type="fts"), "_score"
    else:
        vectors = np.asarray([request.vector for request in group], dtype=np.float32)
        vectors = vectors if len(group) > 1 else vectors[0]
        query, score = table.search(vectors, vector_column_name="vector").distance_type("cosine"), "_distance"
    if condition is not None:
        query = query.where(condition, prefilter=True)
    rows = query.select([*_BARE, score]).with_row_id(True).limit(limit).to_arrow()
    keys = [(group[0].level, id) for id in rows["id"].to_pylist()]
    numbers.update(zip(keys, rows["_rowid"].to_pylist(), strict=True))
    results = []
    for number, request in enumerate(group):
        own = rows if len(group) == 1 else rows.filter(pc.field("query_index") == number)
        if len(own) == limit and own[score][request.k - 1] == own[score][-1]:
            # Ties are cut by id, and there may be more of them than these: look until the score falls.
            results += _hits(table, [request], condition, limit * 4, numbers)
        else:
            results.append(_best(own.to_pylist(), score, request.k))
    return results


def _best(rows: Sequence[Mapping[str, Any]], score: str, k: int) -> list[Hit]:
    scored = [(row[score] if score == "_score" else 1.0 - row[score], _bare(row)) for row in rows]
    scored.sort(key=lambda item: (-item[0], item[1].id))
    return [Hit(passage, points, rank) for rank, (points, passage) in enumerate(scored[:k], start=1)]


def _bare(row: Mapping[str, Any]) -> Passage:
    heading = tuple(row["heading"])
    return Passage(
        **{name: row[name] for name in _BARE} | {"heading": heading}, text="", ordinal=0, start=0, end=0, digest=""
    )


def _passage(row: Mapping[str, Any]) -> Passage:
    values = {name: row[name] for name in _COLUMNS}
    values["heading"] = tuple(values["heading"])
    return Passage(**values, metadata={field: row[field] for field in METADATA_FIELDS if row[field] is not None})
