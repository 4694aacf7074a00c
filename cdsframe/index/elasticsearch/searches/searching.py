"""Converts requests to Elasticsearch searches and responses to hits. Talks to no server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from cdsframe.index.elasticsearch.commits.ledger import State, shown
from cdsframe.index.elasticsearch.mapping import (
    WITHOUT_TEXT,
    RecordMapping,
    conditions,
    decoded,
    searchable,
    without_text,
)
from cdsframe.index.elasticsearch.server.scanning import WINDOW
from cdsframe.index.identity import require_dimension
from cdsframe.types import Hit, JsonObject, Request

_TIES = 8
"""Hits beyond `k` that a kNN search requests to detect ties with the last one."""

WITH_TEXT = {"_source": {"excludes": ["*.vector"]}, "track_total_hits": False}
"""Search options: return the full record without its vector."""

BY_COLUMN = {"stored_fields": "_none_", "docvalue_fields": [WITHOUT_TEXT], "track_total_hits": False}
"""Search options: return doc values only. Halves the time of a search, which otherwise reads a hundred `_source`s."""


@dataclass(frozen=True, slots=True)
class Searches:
    """Builds searches.

    Args:
        mapping: the index's mapping.
        num_candidates: candidates per shard of a kNN search; raised to at least twice the requested hits.
        oversample: a kNN search rescores this many times its hits by their exact vectors; 0: no rescoring.
    """

    mapping: RecordMapping
    num_candidates: int
    oversample: float

    def body(self, request: Request, limit: int, name: str, state: State) -> JsonObject | None:
        """The search of one request in a state of the index `name`; None if no hit is possible."""
        import numpy as np

        filters = conditions(request.filter, self.mapping.known_fields)
        if filters is None:
            return None
        filters.append(shown(state).query)
        body: JsonObject = {"index": state.backing_index, "size": limit}
        body["routing"] = self.mapping.routes(request.filter)
        if request.text is not None:
            if not request.text.strip():
                return None
            match = {"match": {f"{request.level}.words": {"query": searchable(request.text)}}}
            sort = [{"_score": "desc"}, {"id": "asc"}]
            return body | {"query": {"bool": {"must": [match], "filter": filters}}, "sort": sort}
        require_dimension(name, state.dimension, len(request.vector or ()))
        vector = np.asarray(request.vector, dtype=np.float32)
        if not vector.any():  # a zero vector has no neighbours
            return None
        if (
            self.mapping.algorithm == "flat"
        ):  # with a filter, a flat index also returns records without this vector field
            filters.append({"term": {"level": request.level}})
        knn: JsonObject = {
            "field": f"{request.level}.vector",
            "query_vector": vector,
            "k": limit,
            "num_candidates": min(max(self.num_candidates, 2 * limit), WINDOW),
            "filter": filters,
        }
        if self.oversample:
            knn["rescore_vector"] = {"oversample": self.oversample}
        return body | {"query": {"knn": knn}}

    def written(self, bodies: Sequence[JsonObject]) -> bytes:
        """The body of a multi-search request."""
        import orjson

        lines: list[bytes] = []
        for body in bodies:
            rest = {key: value for key, value in body.items() if key not in ("index", "routing")}
            query = orjson.dumps(rest, option=orjson.OPT_SERIALIZE_NUMPY)
            # Equal searches go to the same copy of a shard: BM25 counts deleted records until a merge drops them, which
            # each copy does at another time.
            header = {"index": body["index"], "preference": str(crc32(query)), "allow_partial_search_results": False}
            if self.mapping.shards > 1 and "sort" in body:
                header["search_type"] = "dfs_query_then_fetch"  # collects BM25's statistics from all shards first
            if body.get("routing"):
                header["routing"] = body["routing"]
            lines += [orjson.dumps(header), query]
        return b"\n".join(lines) + b"\n"


def first_limit(request: Request) -> int:
    """The number of hits that the first try of a search requests."""
    return request.k if request.vector is None else min(request.k + _TIES, WINDOW)


def ties_on(request: Request, rows: Sequence[JsonObject], limit: int) -> bool:
    """Whether the limit cut a kNN search's list between hits of equal score."""
    cut = request.vector is not None and len(rows) == limit < WINDOW
    return cut and bool(rows[request.k - 1]["_score"] == rows[-1]["_score"])


def hits_of(request: Request, rows: Sequence[JsonObject]) -> list[Hit]:
    """Converts the rows of a response to hits. A kNN score (1 + cosine) / 2 of Elasticsearch becomes the cosine."""
    passages = [
        decoded(row["_source"]) if "_source" in row else without_text(row["fields"][WITHOUT_TEXT][0], request.level)
        for row in rows
    ]
    if request.text is not None:
        scored = [(row["sort"][0], passage) for row, passage in zip(rows, passages, strict=True)]
    else:
        scored = [(2.0 * row["_score"] - 1.0, passage) for row, passage in zip(rows, passages, strict=True)]
        scored.sort(key=lambda item: (-item[0], item[1].id))
    return [Hit(passage, score, rank) for rank, (score, passage) in enumerate(scored[: request.k], start=1)]
