"""An index on an Elasticsearch server: BM25 and approximate or exact kNN, filters applied inside the search.

Does not start a server and does not change its settings.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from cdsframe.errors import ConfigError
from cdsframe.index.elasticsearch.commits.ledger import Ledger
from cdsframe.index.elasticsearch.commits.rebuild import Rebuildable
from cdsframe.index.elasticsearch.commits.store import StoreSettings
from cdsframe.index.elasticsearch.mapping import RecordMapping
from cdsframe.index.elasticsearch.server.connection import Connection
from cdsframe.index.identity import Identity
from cdsframe.metadata import known_fields


class ElasticsearchIndex(Rebuildable):
    """Consists of the alias `name`, its backing index `name-…`, and the index `name.state` with the commit state.

    Args:
        name: lower-case, as Elasticsearch requires.
        environment: prefix of the environment variables with addresses and credentials.
        algorithm: `index_options.type` of the vectors.
        m: neighbours of each vector in the HNSW graph.
        ef_construction: candidates considered for these neighbours.
        num_candidates: candidates per shard in a kNN search.
        oversample: a kNN search rescores this many times `k` hits by their exact vectors; 0: no rescoring.
        k1: term-frequency saturation (BM25).
        b: length normalisation (BM25).
        analyzer: the text analyzer.
        shards: primary shards.
        replicas: copies of each shard on other nodes.
        routing: the metadata field used as routing value.
        bulk_megabytes: size of a bulk request.
        bulk_threads: concurrent bulk requests.
        timeout: seconds per request, retries included.
        lease_seconds: seconds without renewal after which a writer counts as dead.
        identity: the settings that determine the content; using an index with other settings raises IndexMismatchError.
    """

    def __init__(
        self,
        name: str,
        environment: str,
        algorithm: Literal["int8_hnsw", "int4_hnsw", "bbq_hnsw", "hnsw", "flat"],
        m: Annotated[int, Field(ge=2, le=512)],
        ef_construction: Annotated[int, Field(ge=2, le=3200)],
        num_candidates: Annotated[int, Field(ge=1, le=10_000)],
        oversample: Annotated[float, Field(ge=0, lt=10)],
        k1: Annotated[float, Field(ge=0)],
        b: Annotated[float, Field(ge=0, le=1)],
        analyzer: Annotated[str, Field(pattern=r"^[a-z_]+$")],
        shards: Annotated[int, Field(ge=1, le=1024)],
        replicas: Annotated[int, Field(ge=0)],
        routing: str | None,
        bulk_megabytes: Annotated[float, Field(gt=0, le=90)],
        bulk_threads: Annotated[int, Field(ge=1)],
        timeout: Annotated[float, Field(gt=0)],
        lease_seconds: Annotated[float, Field(ge=1)],
        identity: Identity,
    ) -> None:
        problems = self.problems(name, oversample)
        if problems:
            raise ConfigError(problems)
        connection = Connection(environment, timeout)
        fields = known_fields(identity)
        if routing is not None and routing not in fields:
            raise ConfigError(f"index.routing must be null or one of {', '.join(fields)}, got {routing!r}")
        mapping = RecordMapping(algorithm, m, ef_construction, k1, b, analyzer, shards, replicas, routing, fields)
        settings = StoreSettings(
            connection, mapping, identity, num_candidates, oversample, bulk_threads, bulk_megabytes, lease_seconds
        )
        super().__init__(settings, Ledger(connection, name, "state"))

    @staticmethod
    def routed_by(routing: str | None) -> str | None:
        """The metadata field that chooses a record's shard, for the configuration check."""
        return routing

    @staticmethod
    def problems(name: str, oversample: float) -> list[str]:
        """Returns the problems of the options: `name` must be valid for Elasticsearch, `oversample` 0 or >= 1."""
        found = []
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,199}", name):
            found.append(
                "index.name must be at most 200 lower-case letters, digits, dots, hyphens and underscores on "
                f"Elasticsearch, got {name!r}"
            )
        if 0 < oversample < 1:
            found.append(f"index.oversample must be 0 (no rescoring) or >= 1, got {oversample}")
        return found
