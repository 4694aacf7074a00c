"""The commit state and writer lease of an index: one document in the index `NAME.state`, changed by compare-and-set
only.

It is the index's single commit point. Does not know about records.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any
from uuid import uuid4

from cdsframe.errors import ConfigError, IndexMismatchError, InputError
from cdsframe.index.annotations import with_annotation
from cdsframe.index.elasticsearch.mapping import FORMAT_VERSION, View
from cdsframe.index.elasticsearch.server.connection import Connection, reason
from cdsframe.types import JsonObject, Level

_READABLE = (2, FORMAT_VERSION)

_BACKING_INDEX = "physical"
"""Key of `State.backing_index` in the state document."""

_ANNOTATIONS = "annotations"
"""Id of the document with the index's annotations."""


@dataclass
class State:
    """Content of the state document. GenerationCache are numbers assigned once each, in ascending order."""

    identity: JsonObject = field(default_factory=dict)
    dimension: int | None = None
    backing_index: str | None = None
    """The backing index that holds the records; None before the first write."""
    generation: int = 0
    """The last assigned generation."""
    committed: int | None = None
    """The generation that readers see; None before the first commit."""
    aborted: list[int] = field(default_factory=list)
    open: JsonObject | None = None
    """Uncommitted writes: `generation`, `owner` (one index object of one process) and `left` (generations of
    dead writers that the owner took over)."""
    documents: int = 0
    records: int = 0
    levels: dict[Level, int] = field(default_factory=dict)
    corpora: dict[str, int] = field(default_factory=dict)
    """Corpus -> number of committed documents."""
    adopted: str = ""
    """The corpus of records that were written without one."""
    token: int = 0
    lease: JsonObject | None = None
    rebuild: JsonObject | None = None
    """Plan of the rebuild in progress: `physical` (its backing index), `identity`, `num_shards`."""
    finished: bool = False
    """For a part of a rebuild: whether it is committed, and no process has begun to write it again."""
    noted: int = 0
    """For a part of a rebuild: sequence number of the last recorded change that its commit includes."""
    format_version: int = FORMAT_VERSION
    change: str = ""
    """Random mark of the last change: its author recognises its own write if the response was lost."""

    @classmethod
    def from_json(cls, values: JsonObject) -> State:
        return cls(**{"backing_index" if key == _BACKING_INDEX else key: value for key, value in values.items()})

    def to_json(self) -> JsonObject:
        return {_BACKING_INDEX if key == "backing_index" else key: value for key, value in asdict(self).items()}

    @property
    def view(self) -> View | None:
        """The committed records; None before the first commit."""
        return None if self.committed is None else View(self.committed, tuple(self.aborted))

    @property
    def named_corpora(self) -> dict[str, int]:
        """`corpora`; for a state from before corpora had names, all documents under ""."""
        unnamed = {"": self.documents} if self.documents else {}
        return {} if self.committed is None else self.corpora or unnamed

    def adopt(self, corpora: Mapping[str, int], adopting: str) -> None:
        """Sets the document counts by corpus.

        Documents without a corpus count for `adopting`, else for the corpus that adopted them before.
        """
        self.adopted = (adopting or self.adopted) if "" in corpora else ""
        self.corpora = {}
        for name, number in sorted(corpora.items()):
            owner = name or self.adopted
            self.corpora[owner] = self.corpora.get(owner, 0) + number

    @property
    def commit(self) -> tuple[str | None, int | None]:
        """Identifies the visible content: equal for two states that show the same records."""
        return self.backing_index if self.committed is not None else None, self.committed


def shown(state: State) -> View:
    """The records that a committed state shows."""
    assert state.view is not None  # noqa: S101 (readers hold committed states only)
    return state.view


class Ledger:
    """One state document.

    Args:
        connection: to the server.
        name: the index's name.
        document: the state document's id; each part of a rebuild has its own document.
    """

    def __init__(self, connection: Connection, name: str, document: str) -> None:
        self._connection, self.name, self.document = connection, name, document
        self.index = f"{name}.state"
        self._changing = Lock()
        self._ready = False

    def part(self, backing_index: str, number: int) -> Ledger:
        """The ledger of one part of a rebuild into a backing index."""
        part = Ledger(self._connection, self.name, f"part-{number}@{backing_index}")
        part._ready = True
        return part

    def state(self) -> State:
        """The current state; an empty state if none is stored."""
        return self.read() or State()

    def annotations(self) -> dict[str, JsonObject]:
        """The index's annotations: a document of their own beside the state document."""
        return self._annotations()[0]

    def _annotations(self) -> tuple[dict[str, JsonObject], JsonObject]:
        """The annotations, and the conditions under which a write replaces exactly these."""
        from elasticsearch import NotFoundError

        try:
            found = self._connection.ask(lambda client: client.get(index=self.index, id=_ANNOTATIONS), expected=(404,))
        except NotFoundError:
            return {}, {"op_type": "create"}
        values: dict[str, JsonObject] = found["_source"]["state"]
        return values, {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}

    def annotate(self, key: str, value: JsonObject | None) -> None:
        """Changes one annotation by compare-and-set; None removes it. Raises InputError if another process changes the
        annotations at the same time."""
        from elasticsearch import ConflictError

        values, unchanged = self._annotations()
        document = {"state": with_annotation(values, key, value)}
        try:
            self._connection.ask(
                lambda client: client.index(
                    index=self.index, id=_ANNOTATIONS, document=document, require_alias=False, **unchanged
                ),
                expected=(409,),
            )
        except ConflictError:
            raise InputError(
                f"another process changed the annotations of the index {self.name} at the same time; try again"
            ) from None

    def forget(self) -> None:
        """Deletes the state document."""
        from elasticsearch import NotFoundError

        with suppress(NotFoundError):
            self._connection.ask(lambda client: client.delete(index=self.index, id=self.document), expected=(404,))

    def prepare(self, replicas: int) -> None:
        """Creates the index of the state document if it is missing. Raises ConfigError if the name is taken."""
        from elasticsearch import BadRequestError

        if self._ready or self.read() is not None:
            self._ready = True
            return
        if self._connection.ask(lambda client: client.indices.exists(index=self.name)).meta.status == 200:
            raise ConfigError(
                f"the Elasticsearch server at {self._connection.where} has an index or alias {self.name} that "
                "cdsframe did not create; use another index.name"
            )
        try:
            self._connection.ask(
                lambda client: client.indices.create(
                    index=self.index,
                    settings={"number_of_shards": 1, "number_of_replicas": replicas},
                    mappings={
                        "dynamic": "strict",
                        "_meta": {"made_by": "cdsframe"},
                        "properties": {"state": {"type": "object", "enabled": False}},
                    },
                    wait_for_active_shards=1,
                ),
                expected=(400,),
            )
        except BadRequestError as error:
            if reason(error.body) != "resource_already_exists_exception":
                raise self._connection.as_error(error) from None
            mapping = self._connection.ask(lambda client: client.indices.get_mapping(index=self.index))
            if any(found["mappings"].get("_meta", {}).get("made_by") != "cdsframe" for found in mapping.values()):
                raise self._not_ours() from None
        self._ready = True

    def _not_ours(self) -> ConfigError:
        return ConfigError(f"cdsframe did not create the Elasticsearch index {self.index}; use another index.name")

    def read(self, until: float | None = None) -> State | None:
        """The current state; None if none is stored."""
        return self._read(until)[0]

    def _read(self, until: float | None = None) -> tuple[State | None, JsonObject]:
        from elasticsearch import NotFoundError

        try:
            found = self._connection.ask(
                lambda client: client.get(index=self.index, id=self.document), until, expected=(404,)
            )
        except NotFoundError:
            return None, {}
        return self.parsed(found["_source"]), {
            "if_seq_no": found["_seq_no"],
            "if_primary_term": found["_primary_term"],
        }

    def parsed(self, source: Any) -> State:
        """Parses a state document. Raises IndexMismatchError for another format, ConfigError if cdsframe did not write
        it."""
        state = source.get("state") if isinstance(source, dict) else None
        version = state.get("format_version") if isinstance(state, dict) else None
        if version is None:
            raise self._not_ours()
        if version not in _READABLE:
            raise IndexMismatchError(
                f"the index {self.name} has format version {version}, this cdsframe reads {FORMAT_VERSION}; ingest "
                "again into another index.name, or use the version of cdsframe that made it"
            )
        return State.from_json(state or {})

    def change(self, alter: Callable[[State], None], *, refresh: bool = False) -> State:
        """Applies `alter` to the state by compare-and-set; returns the new state.

        `alter` may be called several times and may raise. `refresh`: searches see the new state when this returns.
        """
        from elasticsearch import ConflictError

        mark, until = uuid4().hex, self._connection.deadline()
        with self._changing:
            while True:
                state, version = self._read(until)
                if state is not None and state.change == mark:
                    return state
                fresh, state = state is None, state or State()
                alter(state)
                state.change = mark
                where: JsonObject = {"op_type": "create"} if fresh else version
                try:
                    self._connection.ask(
                        lambda client, state=state, where=where: client.index(  # type: ignore[misc]
                            index=self.index,
                            id=self.document,
                            document={"state": state.to_json()},
                            refresh=refresh,
                            require_alias=False,
                            **where,
                        ),
                        until,
                        expected=(409,),
                    )
                except ConflictError:
                    if time.monotonic() > until:
                        raise InputError(
                            f"too many processes change the index {self.name} at once; try again"
                        ) from None
                    time.sleep(random.uniform(0, 0.02))
                    continue
                return state
