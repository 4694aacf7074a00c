"""Creates, copies and removes the backing indexes of one index name. Does not know about commits.

The name `guide` owns the backing indexes `guide-DATE-…`, which hold the records, and the alias `guide`, which points at
the committed one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cdsframe.artifacts.digests import digest
from cdsframe.index.elasticsearch.mapping import FORMAT_VERSION, RecordMapping
from cdsframe.index.elasticsearch.server.connection import Connection, reason
from cdsframe.types import JsonObject

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_PATIENCE = 24 * 3600.0
"""Timeout in seconds for a force merge or for copying shards to another node."""


def writable(backing_index: str) -> str:
    """The write alias of a backing index. It is deleted with the index, so a late request cannot recreate the index."""
    return f"{backing_index}.w"


class BackingIndexes:
    """Operations on whole backing indexes.

    Args:
        connection: to the server.
        name: the index name that owns the backing indexes.
        mapping: settings and mapping of new backing indexes.
        identity: the settings that determine the content.
    """

    def __init__(self, connection: Connection, name: str, mapping: RecordMapping, identity: dict[str, Any]) -> None:
        self._connection, self._name, self._mapping, self._identity = connection, name, mapping, identity

    def new_name(self) -> str:
        """A new, unique name for a backing index."""
        return f"{self._name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid4().hex[:6]}"

    def make(self, backing_index: str, dimension: int | None) -> bool:
        """Creates a backing index if it is missing and makes it writable. Returns whether it was missing."""
        from elasticsearch import NotFoundError

        try:
            found = self._connection.ask(
                lambda client: client.indices.get_settings(index=backing_index, name="index.blocks.write"),
                expected=(404,),
            )
            if backing_index in found:  # writes are blocked: a copy was started and did not finish
                self._block(backing_index, None)
            return False
        except NotFoundError:
            pass
        meta = {"format_version": FORMAT_VERSION, "identity": self._identity}
        meta["digest"] = digest(json.dumps(self._identity, sort_keys=True))
        self._create(backing_index, self._mapping.settings, self._mapping.mappings(dimension), meta)
        return True

    def widen(self, backing_index: str, dimension: int | None) -> None:
        """Adds the vector fields to an index created without vectors."""
        properties = self._mapping.mappings(dimension)["properties"]
        self._connection.ask(lambda client: client.indices.put_mapping(index=backing_index, properties=properties))

    def make_notes(self, notes: str) -> None:
        """Creates the index for recorded changes if it is missing."""
        settings = {"number_of_shards": 1, "number_of_replicas": self._mapping.replicas, "refresh_interval": "-1"}
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
        """Creates an index; accepts that an earlier try, whose response was lost, created it."""
        from elasticsearch import BadRequestError

        try:
            self._connection.ask(making, until, expected=(400,))
        except BadRequestError as error:
            if reason(error.body) != "resource_already_exists_exception":
                raise self._connection.as_error(error) from None

    def remove(self, backing_index: str) -> None:
        """Deletes an index with its files."""
        self._connection.ask(lambda client: client.indices.delete(index=backing_index, ignore_unavailable=True))

    def owned(self) -> set[str]:
        """The backing indexes of this name, including superseded ones and those of killed processes."""
        found = self._connection.ask(lambda client: client.indices.get_mapping(index=f"{self._name}-*"))
        metas = {backing_index: mapping["mappings"].get("_meta", {}) for backing_index, mapping in found.items()}
        ours = ("cdsframe", self._name)
        return {
            backing_index for backing_index, meta in metas.items() if (meta.get("made_by"), meta.get("name")) == ours
        }

    def point_alias(self, backing_index: str) -> None:
        """Points the name's alias at an index, for people and other programs; readers use the ledger."""
        self._connection.ask(
            lambda client: client.indices.update_aliases(
                actions=[
                    {"remove": {"index": f"{self._name}-*", "alias": self._name, "must_exist": False}},
                    {"add": {"index": backing_index, "alias": self._name}},
                ]
            )
        )

    def wait_for_copies(self, backing_index: str) -> None:
        """Waits until every replica that can be assigned to a node is ready."""
        if self._mapping.replicas:
            self._connection.ask(
                lambda client: client.cluster.health(
                    index=backing_index, wait_for_no_initializing_shards=True, wait_for_events="languid", timeout="20s"
                ),
                expected=(408,),
            )

    def superseded(self, backing_index: str) -> tuple[int, int]:
        """Returns the number of live records, and that of deleted records still in the files and counted by BM25."""
        stats = self._connection.ask(lambda client: client.indices.stats(index=backing_index, metric="docs"))
        docs = stats["_all"]["primaries"]["docs"]
        return docs["count"], docs["deleted"]

    def start_merge(self, backing_index: str) -> None:
        """Starts a force merge of segments with more than a tenth of deleted records; does not wait for it."""
        self._connection.ask(
            lambda client: client.indices.forcemerge(
                index=backing_index, only_expunge_deletes=True, wait_for_completion=False
            )
        )

    def copy(self, backing_index: str) -> str:
        """Copies an index without its deleted records. Writes to the index are blocked meanwhile.

        Elasticsearch keeps deleted records for half a minute or more for recovering replicas, and merges keep them
        until then. A clone has no such replicas: it shares the files (hard links), and a force merge rewrites segments
        with deleted records.
        """
        fresh, until = self.new_name(), time.monotonic() + _PATIENCE
        self._block(backing_index, True)
        self._once(
            lambda client: client.indices.clone(
                index=backing_index,
                target=fresh,
                settings={
                    "index.blocks.write": None,
                    "index.number_of_replicas": self._mapping.replicas,
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

    def _block(self, backing_index: str, value: bool | None) -> None:
        self._connection.ask(
            lambda client: client.indices.put_settings(index=backing_index, settings={"index.blocks.write": value})
        )
