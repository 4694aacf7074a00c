"""The engine's indexes that belong to one name: making, copying, naming and removing them. Knows nothing of commits.

A name `guide` owns the indexes `guide-DATE-…`, which hold records, and the alias `guide` on the one that is committed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cdsframe.artifacts.digests import digest
from cdsframe.index.elasticsearch.connection import Connection, reason
from cdsframe.index.elasticsearch.layout import Layout
from cdsframe.index.elasticsearch.ledger import FORMAT_VERSION
from cdsframe.types import JsonObject

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_PATIENCE = 24 * 3600.0
"""Seconds that the engine may take to rewrite its files, or to copy them to another node."""


def writable(physical: str) -> str:
    """The alias that records are sent to: it goes with its index, which no late request then makes anew."""
    return f"{physical}.w"


class Engine:
    """What the server is asked to do with whole indexes.

    Args:
        connection: to the server.
        name: whose indexes they are.
        layout: what a new one is made with.
        identity: the settings that its content depends on.
    """

    def __init__(self, connection: Connection, name: str, layout: Layout, identity: dict[str, Any]) -> None:
        self._connection, self._name, self._layout, self._identity = connection, name, layout, identity

    def new_name(self) -> str:
        """A name that no index has."""
        return f"{self._name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid4().hex[:6]}"

    def make(self, physical: str, dimension: int | None) -> bool:
        """Makes an index if it is not there, and makes it writable; whether it was not there."""
        from elasticsearch import NotFoundError

        try:
            found = self._connection.ask(
                lambda client: client.indices.get_settings(index=physical, name="index.blocks.write"), expected=(404,)
            )
            if physical in found:  # a copy was begun and did not end
                self._block(physical, None)
            return False
        except NotFoundError:
            pass
        meta = {"format_version": FORMAT_VERSION, "identity": self._identity}
        meta["digest"] = digest(json.dumps(self._identity, sort_keys=True))
        self._create(physical, self._layout.settings, self._layout.mapping(dimension), meta)
        return True

    def widen(self, physical: str, dimension: int | None) -> None:
        """Gives an index that was made without vectors the fields for them."""
        properties = self._layout.mapping(dimension)["properties"]
        self._connection.ask(lambda client: client.indices.put_mapping(index=physical, properties=properties))

    def make_notes(self, notes: str) -> None:
        """Makes an index of changes in their order if it is not there."""
        settings = {"number_of_shards": 1, "number_of_replicas": self._layout.replicas, "refresh_interval": "-1"}
        properties = {"sequence": {"type": "long"}, "note": {"type": "object", "enabled": False}}
        self._create(notes, settings, {"dynamic": "strict", "properties": properties}, {})

    def _create(self, index: str, settings: JsonObject, mapping: JsonObject, meta: JsonObject) -> None:
        mapping = mapping | {"_meta": {"made_by": "cdsframe", "name": self._name} | meta}
        self._once(
            lambda client: client.indices.create(
                index=index,
                settings=settings,
                mappings=mapping,
                aliases={writable(index): {}},
                wait_for_active_shards=1,
            )
        )

    def _once(self, making: Callable[[Elasticsearch], Any], until: float | None = None) -> None:
        """Makes an index that is not there already, be it by an earlier try whose answer got lost."""
        from elasticsearch import BadRequestError

        try:
            self._connection.ask(making, until, expected=(400,))
        except BadRequestError as error:
            if reason(error.body) != "resource_already_exists_exception":
                raise self._connection.in_words(error) from None

    def remove(self, physical: str) -> None:
        """Deletes an index, with its files."""
        self._connection.ask(lambda client: client.indices.delete(index=physical, ignore_unavailable=True))

    def owned(self) -> set[str]:
        """The name's indexes: also what was superseded, and what a killed process left."""
        found = self._connection.ask(lambda client: client.indices.get_mapping(index=f"{self._name}-*"))
        metas = {physical: mapping["mappings"].get("_meta", {}) for physical, mapping in found.items()}
        ours = ("cdsframe", self._name)
        return {physical for physical, meta in metas.items() if (meta.get("made_by"), meta.get("name")) == ours}

    def point_alias(self, physical: str) -> None:
        """Points the name's alias at an index, for people and for other programs: readers go by the ledger."""
        self._connection.ask(
            lambda client: client.indices.update_aliases(
                actions=[
                    {"remove": {"index": f"{self._name}-*", "alias": self._name, "must_exist": False}},
                    {"add": {"index": physical, "alias": self._name}},
                ]
            )
        )

    def wait_for_copies(self, physical: str) -> None:
        """Waits until each replica that has a node to live on is there."""
        if self._layout.replicas:
            self._connection.ask(
                lambda client: client.cluster.health(
                    index=physical, wait_for_no_initializing_shards=True, wait_for_events="languid", timeout="20s"
                ),
                expected=(408,),
            )

    def superseded(self, physical: str) -> tuple[int, int]:
        """How many records an index has, and how many deleted ones its files still hold and BM25 still counts."""
        stats = self._connection.ask(lambda client: client.indices.stats(index=physical, metric="docs"))
        docs = stats["_all"]["primaries"]["docs"]
        return docs["count"], docs["deleted"]

    def start_merge(self, physical: str) -> None:
        """Has the files rewritten of which a tenth or more is deleted records: small ones; does not wait for it."""
        self._connection.ask(
            lambda client: client.indices.forcemerge(
                index=physical, only_expunge_deletes=True, wait_for_completion=False
            )
        )

    def copy(self, physical: str) -> str:
        """A copy of an index without its deleted records; nothing is written to the index while it is made.

        The engine keeps deleted records for half a minute or more, for nodes that come back, and merges do not drop
        them before. A clone has no such nodes: its files are the same (hard links), and the merge rewrites those that
        hold deleted records.
        """
        fresh, until = self.new_name(), time.monotonic() + _PATIENCE
        self._block(physical, True)
        self._once(
            lambda client: client.indices.clone(
                index=physical,
                target=fresh,
                settings={
                    "index.blocks.write": None,
                    "index.number_of_replicas": self._layout.replicas,
                    "index.merge.policy.expunge_deletes_allowed": 0,
                },
                aliases={writable(fresh): {}},
                wait_for_active_shards=1,
            ),
            until,
        )
        self._connection.ask(lambda client: client.indices.forcemerge(index=fresh, only_expunge_deletes=True), until)
        self._connection.ask(lambda client: client.indices.refresh(index=fresh))
        self.wait_for_copies(fresh)
        return fresh

    def _block(self, physical: str, value: bool | None) -> None:
        self._connection.ask(
            lambda client: client.indices.put_settings(index=physical, settings={"index.blocks.write": value})
        )
