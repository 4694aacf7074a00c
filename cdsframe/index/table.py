"""The table of a Lance index: columns, indexes, and conversion between records and rows. Searches: `table_search`.

Each level has its own text column, null in rows of other levels, because LanceDB computes BM25's statistics per column.
Does not know which version of the table is committed (see `committed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple

from cdsframe.index.ordinal_ranges import OrdinalRange, merged
from cdsframe.metadata import require_stored
from cdsframe.text.search_form import search_words
from cdsframe.text.stopwords import STOP_WORDS
from cdsframe.types import LEVELS, STANDARD_FIELDS, Level, Passage

if TYPE_CHECKING:
    import numpy as np

WITHOUT_TEXT = ("id", "document_id", "section_id", "level", "title", "heading")
COLUMNS = (*WITHOUT_TEXT, "text", "ordinal", "start", "end", "digest")

CORPUS = "corpus"
"""Column with the corpus of a record's document; null if it was written without a corpus."""

AT_ONCE = 1000
"""Maximum number of document ids or row ids in one query."""

_CLAUSES = 100
"""Maximum number of ordinal ranges in one query."""


def schema(dimension: int | None, identity: str, known_fields: Sequence[str] = STANDARD_FIELDS) -> Any:
    """The table's columns. `identity` is stored in the table: a writer drops an uncommitted table with another."""
    import pyarrow as pa

    kinds = {"ordinal": pa.int32(), "start": pa.int64(), "end": pa.int64(), "heading": pa.list_(pa.string())}
    names = (*COLUMNS, *known_fields, CORPUS, *map(words, LEVELS))
    fields = [pa.field(name, kinds.get(name, pa.string())) for name in names]
    if dimension is not None:
        fields.append(pa.field("vector", pa.list_(pa.float32(), dimension)))
    return pa.schema(fields, metadata={"identity": identity})


def metadata_columns(table: Any) -> list[str]:
    """The names of the metadata columns."""
    others = {*COLUMNS, CORPUS, "vector", *map(words, LEVELS)}
    return [name for name in table.schema.names if name not in others]


def words(level: Level) -> str:
    """Name of the column that BM25 reads at a level."""
    return f"words_{level}"


def make_indexes(table: Any, levels: Iterable[Level]) -> None:
    """Creates the BM25 indexes of these levels and an index of the level column.

    Rebuilds them rather than extending them: BM25's statistics then exclude deleted records and do not depend on the
    table's history.
    """
    from lancedb.index import FTS, Bitmap

    for level in levels:
        config = FTS(custom_stop_words=list(STOP_WORDS), max_token_length=64)
        table.create_index(words(level), config=config, replace=True)
    table.create_index("level", config=Bitmap(), replace=True)


def dimension(table: Any) -> int | None:
    """Length of the table's vectors; None if it has no vectors."""
    return table.schema.field("vector").type.list_size if "vector" in table.schema.names else None


class Contents(NamedTuple):
    """Documents and record counts of a table."""

    documents: dict[str, str]
    """Document id -> digest."""
    corpora: dict[str, str]
    """Document id -> corpus; "" if it was written without one."""
    records: dict[Level, int]
    """Level -> number of records."""


def digests(table: Any) -> dict[str, str]:
    """Document id -> digest."""
    return contents(table).documents


def contents(table: Any, document_ids: Sequence[str] | None = None) -> Contents:
    """Contents of the whole table; of the given documents only, if `document_ids` is not None."""
    import pyarrow as pa
    from lancedb.expr import col

    columns = [name for name in ("document_id", "digest", "level", CORPUS) if name in table.schema.names]
    if document_ids is None:
        rows = table.search().select(columns).limit(None).to_arrow()
    else:
        ids = list(dict.fromkeys(document_ids))
        some = [ids[first : first + AT_ONCE] for first in range(0, len(ids), AT_ONCE)] or [[""]]
        queries = [table.search().where(col("document_id").isin(part)).select(columns).limit(None) for part in some]
        rows = pa.concat_tables([query.to_arrow() for query in queries])
    kept = [(name, "max") for name in columns if name in ("digest", CORPUS)]  # equal for all records of a document
    documents = rows.group_by("document_id").aggregate(kept)
    ids = documents["document_id"].to_pylist()
    names = documents[f"{CORPUS}_max"].to_pylist() if CORPUS in columns else [""] * len(ids)
    counts = {row["values"]: row["counts"] for row in rows["level"].value_counts().to_pylist()}
    return Contents(
        dict(zip(ids, documents["digest_max"].to_pylist(), strict=True)),
        dict(zip(ids, (name or "" for name in names), strict=True)),
        {level: counts[level] for level in LEVELS if level in counts},
    )


def pieces(table: Any) -> int:
    """Number of fragments (files) of the table."""
    return int(table.stats()["fragment_stats"]["num_fragments"])


def add(table: Any, records: Sequence[Passage], vectors: np.ndarray | None, corpus: str) -> None:
    """Appends records of a corpus, with vectors `[n, dimension]` if the table has a vector column.

    Records of one level are stored together: a search then reads few contiguous ranges of the file.
    """
    import pyarrow as pa

    fields = metadata_columns(table)
    require_stored((record.metadata for record in records), fields)
    order = sorted(range(len(records)), key=lambda number: LEVELS.index(records[number].level))
    records = [records[number] for number in order]
    columns: dict[str, Any] = {name: [getattr(record, name) for record in records] for name in COLUMNS}
    columns |= {field: [record.metadata.get(field) for record in records] for field in fields}
    columns[CORPUS] = [corpus or None] * len(records)
    for level in LEVELS:
        own = (record.search_text if record.level == level else None for record in records)
        columns[words(level)] = [None if text is None else search_words(text) for text in own]
    if vectors is not None:
        flat = pa.array(vectors[order].astype("float32", copy=False).ravel())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table.add(pa.table(columns, schema=table.schema))


def create(database: Any, name: str, schema: Any) -> Any:
    """Creates a table, replacing a table of the same name.

    Uses Lance's file format 2.0: since 2.1, reading a page with one long text among nulls repeats the text for each
    null, which overflows at a few megabytes.
    """
    options = {"new_table_data_storage_version": "2.0"}
    return database.create_table(name, schema=schema, mode="overwrite", storage_options=options)


def copy(table: Any, database: Any, name: str, without: Sequence[str]) -> Any:
    """Copies the table into new files, without deleted rows and without the documents `without`."""
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
    for first in range(0, len(ids), AT_ONCE):
        table.delete(col("document_id").isin(ids[first : first + AT_ONCE]))


def of_documents(table: Any, document_ids: Sequence[str], level: Level) -> list[Passage]:
    """All records of one level of the documents, ordered by document id and ordinal."""
    from lancedb.expr import col

    ids = list(dict.fromkeys(document_ids))
    parts = [col("document_id").isin(ids[first : first + AT_ONCE]) for first in range(0, len(ids), AT_ONCE)]
    return _records(table, parts, level)


def between(table: Any, ranges: Sequence[OrdinalRange]) -> list[Passage]:
    """The passages in the ranges, both ends included, ordered by document id and ordinal."""
    from lancedb.expr import col, lit

    either = [
        (col("document_id") == lit(document_id)) & (col("ordinal") >= lit(first)) & (col("ordinal") <= lit(last))
        for document_id, first, last in merged(ranges)
    ]
    parts = [reduce(or_, either[first : first + _CLAUSES]) for first in range(0, len(either), _CLAUSES)]
    return _records(table, parts, "passage")


def _records(table: Any, parts: Sequence[Any], level: Level) -> list[Passage]:
    """The records of one level that match any of the conditions, ordered by document id and ordinal."""
    from lancedb.expr import col, lit

    found: list[Passage] = []
    fields = metadata_columns(table)
    for part in parts:
        query = table.search().where(part & (col("level") == lit(level))).select([*COLUMNS, *fields])
        found += [passage_of(row, fields) for row in query.limit(None).to_arrow().to_pylist()]
    return sorted(found, key=lambda passage: (passage.document_id, passage.ordinal))


def passage_of(row: Mapping[str, Any], known_fields: Sequence[str]) -> Passage:
    values = {name: row[name] for name in COLUMNS}
    values["heading"] = tuple(values["heading"])
    return Passage(**values, metadata={field: row[field] for field in known_fields if row[field] is not None})
