"""The record format of an Elasticsearch index: settings, mapping, encoding of records, and visibility by generation.

Talks to no server. Each level has its own fields (`passage.words`, `title.vector`, …), because BM25's statistics and
the HNSW graph belong to a field: each level is then searched independently of the others.

The content of a record never changes: a record is `born` in one generation, and marked as `died` in a later one if it
is replaced or deleted. A commit shows the records that were born by its generation and have not died by then, except
those of aborted generations (`View`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.identifiers import ids_problem
from cdsframe.errors import ConfigError, InputError, named
from cdsframe.metadata import require_known, require_stored
from cdsframe.text.search_form import search_words
from cdsframe.text.stopwords import STOP_WORDS
from cdsframe.types import HEADS, LEVELS, STANDARD_FIELDS, Filters, JsonObject, Level, Passage

if TYPE_CHECKING:
    import numpy as np

FORMAT_VERSION = 3
"""Version 3 indexes texts in their search form. An index of version 2 must be rebuilt before searches and writes."""

_LONG = 8_000
"""Limit for a metadata value (characters) and for a title with its heading path (bytes); a digest replaces longer ones.
Elasticsearch refuses keys of more than 32,766 bytes, and a character has at most 4."""

_WORDS = 1_000
"""Above this number of words, a query keeps its distinct words only: Elasticsearch limits the clauses of a query."""

_WORD = re.compile(r"[⺀-\U0003ffff]|[^\W⺀-\U0003ffff]+")
"""A word, or one character of a script without spaces."""

_BBQ = 64
"""The smallest vector dimension that bbq_hnsw supports."""

_ROUTE = re.compile(r"[^,\s]{1,200}")
"""Valid routing values: Elasticsearch separates several by commas."""

CORPUS = "corpus"
"""Field with the corpus of a record's document; missing if it was written without a corpus."""

WITHOUT_TEXT = "bare"
"""Doc-values field with `Passage.without_text` of a record as JSON; searches read it without opening the source."""

_PLAIN = ("id", "document_id", "section_id", "level", "ordinal", "start", "end", "digest")

_NOT_METADATA = frozenset((*_PLAIN, *LEVELS, CORPUS, WITHOUT_TEXT, "born", "died", "records", "long", "unread"))
"""Top-level fields of a record that are not metadata."""


@dataclass(frozen=True, slots=True)
class View:
    """The visible records: those of all generations up to `generation`, without aborted ones.

    `only`: the generations of one part of a rebuild, which must not see the other parts' records.
    """

    generation: int
    aborted: tuple[int, ...] = ()
    only: tuple[int, ...] | None = None

    @property
    def query(self) -> JsonObject:
        """The Elasticsearch query for the visible records."""
        bound = {"lte": self.generation}
        born = {"range": {"born": bound}} if self.only is None else {"terms": {"born": self.only}}
        died: JsonObject = {"range": {"died": bound}}
        if self.aborted:
            died = {"bool": {"filter": [died], "must_not": [{"terms": {"died": self.aborted}}]}}
            return {"bool": {"filter": [born], "must_not": [died, {"terms": {"born": self.aborted}}]}}
        return {"bool": {"filter": [born], "must_not": [died]}}

    @property
    def dead(self) -> JsonObject:
        """Query for records that this view and all later ones hide. Excludes the records of later writers."""
        past = {"range": {"born": {"lte": self.generation}}}
        given_up = {"terms": {"born": list(self.aborted)}}
        return {"bool": {"filter": [{"bool": {"should": [past, given_up]}}], "must_not": [self.query]}}


@dataclass(frozen=True, slots=True)
class RecordMapping:
    """The settings and mapping of a new backing index; see `configs/index/elasticsearch.yaml`."""

    algorithm: str
    m: int
    ef_construction: int
    k1: float
    b: float
    analyzer: str
    shards: int
    replicas: int
    routing: str | None
    known_fields: tuple[str, ...] = STANDARD_FIELDS

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that determine BM25's scores and the routing; an index with others raises IndexMismatchError."""
        return {"analyzer": self.analyzer, "k1": self.k1, "b": self.b, "routing": self.routing}

    def route(self, metadata: Mapping[str, str]) -> str | None:
        """The routing value of a record; None: default routing."""
        value = metadata.get(self.routing or "")
        return value if value is not None and _ROUTE.fullmatch(value) else None

    def routes(self, filter: Filters) -> str | None:
        """The routing values that cover all records matching the filter; None: search all shards."""
        value = filter.get(self.routing or "", ())
        values = [value] if isinstance(value, str) else list(value)
        return ",".join(values) if values and all(_ROUTE.fullmatch(one) for one in values) else None

    @property
    def settings(self) -> JsonObject:
        """Index settings. Automatic refresh is off: commits refresh."""
        analyzer: JsonObject = {"type": self.analyzer}
        if self.analyzer == "english":
            analyzer["stopwords"] = list(STOP_WORDS)
        return {
            "number_of_shards": self.shards,
            "number_of_replicas": self.replicas,
            "refresh_interval": "-1",
            "analysis": {"analyzer": {"words": analyzer}},
            "similarity": {"bm25": {"type": "BM25", "k1": self.k1, "b": self.b}},
        }

    def mappings(self, dimension: int | None) -> JsonObject:
        """The strict mapping: unknown fields are errors. Raises ConfigError if the dimension is too small for
        bbq_hnsw."""
        if self.algorithm == "bbq_hnsw" and dimension is not None and dimension < _BBQ:
            raise ConfigError(
                f"index.algorithm=bbq_hnsw needs vectors of dimension {_BBQ} or more, the embedder's have "
                f"{dimension}; use index.algorithm=int8_hnsw"
            )
        keyword, number, kept = {"type": "keyword"}, {"type": "long"}, {"type": "object", "enabled": False}
        properties: JsonObject = dict.fromkeys(("id", "document_id", "section_id", "level", "digest"), keyword)
        properties |= dict.fromkeys(("ordinal", "start", "end", "born", "died", "records"), number)
        properties |= dict.fromkeys((*self.known_fields, CORPUS), keyword) | {"long": kept, "unread": kept}
        properties[WITHOUT_TEXT] = keyword | {"index": False}
        for level in LEVELS:
            source = {"type": "text", "index": False, "copy_to": f"{level}.words"}
            fields: JsonObject = dict.fromkeys(("title", "heading", "text"), source)
            fields["words"] = {"type": "text", "analyzer": "words", "similarity": "bm25"}
            if dimension is not None:
                fields["vector"] = {
                    "type": "dense_vector",
                    "dims": dimension,
                    "index": True,
                    "similarity": "cosine",
                    "index_options": self._vector_index,
                }
            properties[level] = {"properties": fields}
        return {"dynamic": "strict", "properties": properties}

    @property
    def _vector_index(self) -> JsonObject:
        if self.algorithm == "flat":
            return {"type": "flat"}
        return {"type": self.algorithm, "m": self.m, "ef_construction": self.ef_construction}


def check_records(records: Sequence[Passage], known_fields: Sequence[str]) -> None:
    """Raises InputError if an id is too long for a key, or if a metadata field is not in the mapping."""
    require_stored((record.metadata for record in records), known_fields)
    for record in records:
        if problem := ids_problem(record.id, record.section_id, record.document_id):
            raise InputError(f"the document {named(record.document_id)} {problem}")


def encoded(
    record: Passage, vector: np.ndarray | None, generation: int, records: int | None, corpus: str = ""
) -> bytes:
    """A record as JSON. A document's first record stores the number of its records, so that missing ones are detected.

    Raises InputError if the text is not valid Unicode. Check ids with `check_ids` before.
    """
    import orjson

    texts: JsonObject = {"text": record.text, **{head: getattr(record, head) for head in record.prepended}}
    searched = {name: _searched(value) for name, value in texts.items()}
    unread: JsonObject = {name: value for name, value in texts.items() if value != searched[name]}
    unread |= {head: getattr(record, head) for head in HEADS if head not in record.prepended}
    if vector is not None and vector.any():  # a zero vector has no cosine
        searched["vector"] = vector
    source: JsonObject = {name: getattr(record, name) for name in _PLAIN} | {
        WITHOUT_TEXT: _encoded_without_text(record)
    }
    source[record.level] = searched
    if unread:
        source["unread"] = unread
    source["born"] = generation
    if records is not None:
        source["records"] = records
    if corpus:
        source[CORPUS] = corpus
    for field, value in record.metadata.items():
        source[field] = _keyword(value)
        if source[field] != value:
            source.setdefault("long", {})[field] = value
    try:
        return orjson.dumps(source, option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, ValueError):
        raise InputError(
            f"the document {named(record.document_id)} has characters that are not valid Unicode; fix its text"
        ) from None


def _searched(value: str | Sequence[str]) -> Any:
    """The search form of a text, or of each part of a heading path. `unread` keeps the original if it differs."""
    return search_words(value) if isinstance(value, str) else tuple(map(search_words, value))


def _encoded_without_text(record: Passage) -> str:
    """JSON of the passage without text; a digest replaces title and heading if they are very long."""
    head = [record.title, *record.heading]
    if _size(head) > _LONG:
        head = [_digested("\n".join(head))]
    return json.dumps([record.id, record.document_id, record.section_id, *head], ensure_ascii=False)


def _size(values: Sequence[str]) -> int:
    """Bytes of the values as JSON."""
    return len(json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def without_text(value: str, level: Level) -> Passage:
    """Decodes the value of the field `WITHOUT_TEXT` to `Passage.without_text`."""
    import orjson

    id, document_id, section_id, title, *heading = orjson.loads(value)
    return Passage(id, document_id, section_id, level, "", title, tuple(heading), 0, 0, 0, "")


def decoded(source: Mapping[str, Any]) -> Passage:
    """Decodes the `_source` of an Elasticsearch document to a record."""
    texts = source[source["level"]] | source.get("unread", {})
    metadata = {name: value for name, value in source.items() if name not in _NOT_METADATA} | source.get("long", {})
    return Passage(
        **{name: source[name] for name in _PLAIN},
        title=texts["title"],
        heading=tuple(texts["heading"]),
        text=texts["text"],
        metadata=metadata,
    )


def conditions(filter: Filters, known: Sequence[str]) -> list[JsonObject] | None:
    """The Elasticsearch conditions of a filter; None if no record can match.

    Raises InputError for a field that is not in `known`, the index's metadata fields.
    """
    require_known(filter, known)
    found: list[JsonObject] = []
    for field, value in filter.items():
        values = [value] if isinstance(value, str) else list(value)
        if not values:
            return None
        found.append({"terms": {field: [_keyword(one) for one in values]}})
    return found


def searchable(text: str) -> str:
    """The search form of a query; a very long query is reduced to as many distinct words as Elasticsearch accepts."""
    text = search_words(text, question=True)
    found = _WORD.findall(text)
    return text if len(found) <= _WORDS else " ".join(list(dict.fromkeys(map(str.casefold, found)))[:_WORDS])


def _keyword(value: str) -> str:
    """The value as a keyword, or its digest if it is too long for a key."""
    return value if len(value) <= _LONG else _digested(value)


def _digested(value: str) -> str:
    return f"sha256:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


def digested(value: str) -> bool:
    """Whether a keyword is the digest of a long value."""
    return re.fullmatch(r"sha256:[0-9a-f]{64}", value) is not None


def of_documents(ids: Sequence[str]) -> JsonObject:
    """Condition for all records of these documents."""
    return {"terms": {"document_id": list(ids)}}
