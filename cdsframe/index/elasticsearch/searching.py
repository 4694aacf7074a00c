"""A request as the engine's search, and its answer as hits. Talks to no server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from cdsframe.index.elasticsearch.layout import BARE, Layout, bare, conditions, decoded, searchable
from cdsframe.index.elasticsearch.ledger import State, shown
from cdsframe.index.elasticsearch.scanning import WINDOW
from cdsframe.index.identity import require_dimension
from cdsframe.types import Hit, JsonObject, Request

_TIES = 8
"""Hits beyond `k` that a kNN search asks for, to see whether the last one ties."""

WITH_TEXT = {"_source": {"excludes": ["*.vector"]}, "track_total_hits": False}
"""What a search gives of its hits: the whole record, less its vector."""

BY_COLUMN = {"stored_fields": "_none_", "docvalue_fields": [BARE], "track_total_hits": False}
"""What is kept by column only: half the time of a search, which would open a hundred records."""


@dataclass(frozen=True, slots=True)
class Searches:
    """How an index is searched.

    Args:
        layout: what it was made with.
        num_candidates: neighbours that the engine looks at in each shard, at least twice as many as are asked for.
        oversample: how many times as many hits as are asked for are compared by their exact vectors; 0: none.
    """

    layout: Layout
    num_candidates: int
    oversample: float

    def body(self, request: Request, limit: int, name: str, state: State) -> JsonObject | None:
        """One search of what a state of the index `name` shows; None where nothing can be found."""
        import numpy as np

        filters = conditions(request.filter)
        if filters is None:
            return None
        filters.append(shown(state).query)
        body: JsonObject = {"index": state.physical, "size": limit}
        body["routing"] = self.layout.routes(request.filter)
        if request.text is not None:
            if not request.text.strip():
                return None
            match = {"match": {f"{request.level}.words": {"query": searchable(request.text)}}}
            sort = [{"_score": "desc"}, {"id": "asc"}]
            return body | {"query": {"bool": {"must": [match], "filter": filters}}, "sort": sort}
        require_dimension(name, state.dimension, len(request.vector or ()))
        vector = np.asarray(request.vector, dtype=np.float32)
        if not vector.any():  # near to nothing
            return None
        if self.layout.algorithm == "flat":  # with a filter, it also gives records that have no vector in the field
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
        """Searches as the engine takes many of them at once."""
        import orjson

        lines: list[bytes] = []
        for body in bodies:
            rest = {key: value for key, value in body.items() if key not in ("index", "routing")}
            query = orjson.dumps(rest, option=orjson.OPT_SERIALIZE_NUMPY)
            # One question always goes to the same copy of a shard: copies differ in what they have tidied up.
            header = {"index": body["index"], "preference": str(crc32(query)), "allow_partial_search_results": False}
            if self.layout.shards > 1 and "sort" in body:
                header["search_type"] = "dfs_query_then_fetch"  # BM25's statistics are gathered from all shards first
            if body.get("routing"):
                header["routing"] = body["routing"]
            lines += [orjson.dumps(header), query]
        return b"\n".join(lines) + b"\n"


def first_limit(request: Request) -> int:
    """How many hits a search asks for at first."""
    return request.k if request.vector is None else min(request.k + _TIES, WINDOW)


def ties_on(request: Request, rows: Sequence[JsonObject], limit: int) -> bool:
    """Whether a kNN search's list was cut between hits of equal score."""
    cut = request.vector is not None and len(rows) == limit < WINDOW
    return cut and bool(rows[request.k - 1]["_score"] == rows[-1]["_score"])


def hits_of(request: Request, rows: Sequence[JsonObject]) -> list[Hit]:
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
