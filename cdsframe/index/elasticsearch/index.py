"""An index on an Elasticsearch server: BM25 and approximate or exact kNN, filters applied inside the search.

It starts no server and changes none of its settings.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from cdsframe.errors import ConfigError
from cdsframe.index.elasticsearch.connection import Connection
from cdsframe.index.elasticsearch.layout import Layout
from cdsframe.index.elasticsearch.ledger import Ledger
from cdsframe.index.elasticsearch.rebuild import Rebuildable
from cdsframe.index.elasticsearch.store import Settings
from cdsframe.index.identity import Identity
from cdsframe.types import METADATA_FIELDS


class ElasticsearchIndex(Rebuildable):
    """The alias `name`, the index `name-…` that it points at, and `name.state` with what is committed.

    Args:
        name: lower-case, as the engine demands.
        environment: what the names of the environment variables begin with that hold addresses and credentials.
        algorithm: how vectors are kept and searched.
        m: neighbours of each vector in the graph.
        ef_construction: candidates that are looked at for them.
        num_candidates: neighbours that a search looks at in each shard.
        oversample: how many times as many hits as are asked for are compared by their exact vectors.
        k1: how soon more of the same word counts no more (BM25).
        b: how much a long text counts less (BM25).
        analyzer: the engine's analyzer of words.
        shards: parts of the index, which different nodes can search at once.
        replicas: copies of each shard, on other nodes.
        routing: the metadata field whose value decides a record's shard.
        bulk_megabytes: size of a request that writes.
        bulk_threads: such requests at once.
        timeout: seconds that a request may take, all tries included.
        lease_seconds: after how long a writer that is not heard of counts as dead.
        identity: the settings that its content depends on; an index that was made with others is refused.
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
        problems = self.problems(name, oversample, routing)
        if problems:
            raise ConfigError(problems)
        connection = Connection(environment, timeout)
        layout = Layout(algorithm, m, ef_construction, k1, b, analyzer, shards, replicas, routing)
        settings = Settings(
            connection, layout, identity, num_candidates, oversample, bulk_threads, bulk_megabytes, lease_seconds
        )
        super().__init__(settings, Ledger(connection, name, "state"))

    @staticmethod
    def problems(name: str, oversample: float, routing: str | None) -> list[str]:
        """Empty if the name can be an index's, and the values go together."""
        found = []
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,199}", name):
            found.append(
                "index.name must be at most 200 lower-case letters, digits, dots, hyphens and underscores on "
                f"Elasticsearch, got {name!r}"
            )
        if 0 < oversample < 1:
            found.append(f"index.oversample must be 0 (none) or >= 1, got {oversample}")
        if routing is not None and routing not in METADATA_FIELDS:
            found.append(f"index.routing must be null or one of {', '.join(METADATA_FIELDS)}, got {routing!r}")
        return found
