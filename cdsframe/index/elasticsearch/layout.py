"""How records lie in an Elasticsearch index: its settings and mapping, a record's fields, and which of them count.

Talks to no server. Each level has an object of its own (`passage.words`, `title.vector`, …), because BM25's statistics
and the graph of the vectors belong to a field: so a level is searched as if the others were not there.

A record is never rewritten: it is `born` in one generation and may have `died` in a later one. What a commit shows are
the records that were born by then and have not died, but for generations that were given up (`View`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.identifiers import ids_problem
from cdsframe.errors import ConfigError, InputError, named
from cdsframe.text.search_form import search_words
from cdsframe.text.stopwords import STOP_WORDS
from cdsframe.types import HEADS, LEVELS, METADATA_FIELDS, Filter, JsonObject, Level, Passage

if TYPE_CHECKING:
    import numpy as np

_LONG = 8_000
"""Characters of a metadata value, or bytes of a title with its heading path, above which a digest stands for it: the
engine refuses keys of more than 32,766 bytes, and a character has 4 at most."""

_WORDS = 1_000
"""Words of a query, above which only the different ones count: the engine has a limit to a query's clauses."""

_WORD = re.compile(r"[⺀-\U0003ffff]|[^\W⺀-\U0003ffff]+")
"""A word, or one sign of a script that puts no spaces between words."""

_BBQ = 64
"""The smallest dimension that the engine makes binary codes for."""

_ROUTE = re.compile(r"[^,\s]{1,200}")
"""The values of metadata that can decide a shard: the engine takes lists of them, separated by commas."""

CORPUS = "corpus"
"""The field with the corpus of a record's document; missing where it was written without one."""

BARE = "bare"
"""The field that is kept by column, and says of a record what a search knows before it opens it."""

_PLAIN = ("id", "document_id", "section_id", "level", "ordinal", "start", "end", "digest")


@dataclass(frozen=True, slots=True)
class View:
    """Which records count: those of the generations up to one, without the ones that were given up.

    `only`: the generations of a part of a rebuild, which must not see the other parts' records.
    """

    generation: int
    aborted: tuple[int, ...] = ()
    only: tuple[int, ...] | None = None

    @property
    def query(self) -> JsonObject:
        """The engine's condition."""
        bound = {"lte": self.generation}
        born = {"range": {"born": bound}} if self.only is None else {"terms": {"born": self.only}}
        died: JsonObject = {"range": {"died": bound}}
        if self.aborted:
            died = {"bool": {"filter": [died], "must_not": [{"terms": {"died": self.aborted}}]}}
            return {"bool": {"filter": [born], "must_not": [died, {"terms": {"born": self.aborted}}]}}
        return {"bool": {"filter": [born], "must_not": [died]}}

    @property
    def dead(self) -> JsonObject:
        """What neither this view nor any later one shows: nothing of a writer that came after it."""
        past = {"range": {"born": {"lte": self.generation}}}
        given_up = {"terms": {"born": list(self.aborted)}}
        return {"bool": {"filter": [{"bool": {"should": [past, given_up]}}], "must_not": [self.query]}}


@dataclass(frozen=True, slots=True)
class Layout:
    """The choices that an index is made with; see `configs/index/elasticsearch.yaml`."""

    algorithm: str
    m: int
    ef_construction: int
    k1: float
    b: float
    analyzer: str
    shards: int
    replicas: int
    routing: str | None

    @property
    def identity(self) -> dict[str, Any]:
        """What BM25's scores, and where records are looked for, depend on: an index made with others is refused."""
        return {"analyzer": self.analyzer, "k1": self.k1, "b": self.b, "routing": self.routing}

    def route(self, metadata: Mapping[str, str]) -> str | None:
        """What decides a record's shard; None: the engine."""
        value = metadata.get(self.routing or "")
        return value if value is not None and _ROUTE.fullmatch(value) else None

    def routes(self, filter: Filter) -> str | None:
        """Which shards hold all that a filter lets through; None: all may."""
        value = filter.get(self.routing or "", ())
        values = [value] if isinstance(value, str) else list(value)
        return ",".join(values) if values and all(_ROUTE.fullmatch(one) for one in values) else None

    @property
    def settings(self) -> JsonObject:
        """Refreshed by commits only."""
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

    def mapping(self, dimension: int | None) -> JsonObject:
        """Strict: a field that is not here is an error. Raises ConfigError where vectors are too short."""
        if self.algorithm == "bbq_hnsw" and dimension is not None and dimension < _BBQ:
            raise ConfigError(
                f"index.algorithm=bbq_hnsw takes vectors of dimension {_BBQ} or more, the embedder's have {dimension}; "
                "use index.algorithm=int8_hnsw"
            )
        keyword, number, kept = {"type": "keyword"}, {"type": "long"}, {"type": "object", "enabled": False}
        properties: JsonObject = dict.fromkeys(("id", "document_id", "section_id", "level", "digest"), keyword)
        properties |= dict.fromkeys(("ordinal", "start", "end", "born", "died", "records"), number)
        properties |= dict.fromkeys((*METADATA_FIELDS, CORPUS), keyword) | {"long": kept, "unread": kept}
        properties[BARE] = keyword | {"index": False}
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


def check_ids(records: Iterable[Passage]) -> None:
    """Raises InputError where ids are too long for a key."""
    for record in records:
        if problem := ids_problem(record.id, record.section_id, record.document_id):
            raise InputError(f"the document {named(record.document_id)} {problem}")


def encoded(
    record: Passage, vector: np.ndarray | None, generation: int, records: int | None, corpus: str = ""
) -> bytes:
    """A record as JSON. `records` is how many its document has, told by the first of them, so that it can be counted.

    Raises InputError where its text is no Unicode. Its ids are such as `check_ids` lets pass.
    """
    import orjson

    texts: JsonObject = {"text": record.text, **{head: getattr(record, head) for head in record.prepended}}
    searched = {name: _searched(value) for name, value in texts.items()}
    unread: JsonObject = {name: value for name, value in texts.items() if value != searched[name]}
    unread |= {head: getattr(record, head) for head in HEADS if head not in record.prepended}
    if vector is not None and vector.any():  # the cosine to nothing is not defined
        searched["vector"] = vector
    source: JsonObject = {name: getattr(record, name) for name in _PLAIN} | {BARE: _bare(record)}
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
        raise InputError(f"the document {named(record.document_id)} has signs that are not Unicode; fix it") from None


def _searched(value: str | Sequence[str]) -> Any:
    """A text, or each part of a heading path, as it is searched; what it differs from is kept among the unread."""
    return search_words(value) if isinstance(value, str) else tuple(map(search_words, value))


def _bare(record: Passage) -> str:
    """The value of the field `BARE`: of title and heading no more than their digest where they are very long."""
    head = [record.title, *record.heading]
    if _size(head) > _LONG:
        head = [_digested("\n".join(head))]
    return json.dumps([record.id, record.document_id, record.section_id, *head], ensure_ascii=False)


def _size(values: Sequence[str]) -> int:
    """Bytes of their JSON."""
    return len(json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def bare(value: str, level: Level) -> Passage:
    """`Passage.bare` of a record, from the value of its field `BARE`."""
    import orjson

    id, document_id, section_id, title, *heading = orjson.loads(value)
    return Passage(id, document_id, section_id, level, "", title, tuple(heading), 0, 0, 0, "")


def decoded(source: Mapping[str, Any]) -> Passage:
    """The record that a source was made from."""
    texts = source[source["level"]] | source.get("unread", {})
    metadata = {field: source[field] for field in METADATA_FIELDS if field in source} | source.get("long", {})
    return Passage(
        **{name: source[name] for name in _PLAIN},
        title=texts["title"],
        heading=tuple(texts["heading"]),
        text=texts["text"],
        metadata=metadata,
    )


def conditions(filter: Filter) -> list[JsonObject] | None:
    """The engine's conditions for a filter; None where no record can fulfil it.

    Raises InputError where a field is none that documents have.
    """
    found: list[JsonObject] = []
    for field, value in filter.items():
        if field not in METADATA_FIELDS:
            near = get_close_matches(field, METADATA_FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(METADATA_FIELDS)}"
            raise InputError(f"no metadata field {field} to filter by; {hint}")
        values = [value] if isinstance(value, str) else list(value)
        if not values:
            return None
        found.append({"terms": {field: [_keyword(one) for one in values]}})
    return found


def searchable(text: str) -> str:
    """A query's text in its search form, or where it is very long its different words, as many as the engine takes."""
    text = search_words(text, question=True)
    found = _WORD.findall(text)
    return text if len(found) <= _WORDS else " ".join(list(dict.fromkeys(map(str.casefold, found)))[:_WORDS])


def _keyword(value: str) -> str:
    """The value as it is compared: itself, or its digest where it is too long for a key."""
    return value if len(value) <= _LONG else _digested(value)


def _digested(value: str) -> str:
    return f"sha256:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


def digested(value: str) -> bool:
    """Whether a keyword stands for a value that is too long for one."""
    return re.fullmatch(r"sha256:[0-9a-f]{64}", value) is not None


def required(ids: Sequence[str]) -> JsonObject:
    """The engine's condition for all records of the documents."""
    return {"terms": {"document_id": list(ids)}}
