"""What is committed, and who may write: one document in the index `NAME.state`, changed by compare-and-set only.

It is the single commit point of an index. Knows nothing of records.
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
from cdsframe.index.elasticsearch.connection import Connection, reason
from cdsframe.index.elasticsearch.layout import View
from cdsframe.types import JsonObject, Level

FORMAT_VERSION = 3
"""3: texts are indexed in their search form. An index of the format before can be read by a rebuild only."""

_READABLE = (2, FORMAT_VERSION)


@dataclass
class State:
    """The document's content. Generations are numbers that are given out once each, in order."""

    identity: JsonObject = field(default_factory=dict)
    dimension: int | None = None
    physical: str | None = None
    """The engine's index that the records are in; None before the first write."""
    generation: int = 0
    """The last one that was given out."""
    committed: int | None = None
    """The generation that readers see; None where nothing was committed yet."""
    aborted: list[int] = field(default_factory=list)
    open: JsonObject | None = None
    """The writes since the commit: `generation` and `owner` (an object of one process)."""
    documents: int = 0
    records: int = 0
    levels: dict[Level, int] = field(default_factory=dict)
    corpora: dict[str, int] = field(default_factory=dict)
    """Corpus -> how many of its documents are committed."""
    adopted: str = ""
    """The corpus that the records belong to which were written without one."""
    token: int = 0
    lease: JsonObject | None = None
    rebuild: JsonObject | None = None
    """`physical`, `identity`, `num_shards` of the index that is to take this one's place."""
    finished: bool = False
    """Of a part of a rebuild: whether it is committed, and nobody is at work on it again."""
    noted: int = 0
    """Of a part of a rebuild: the last change that was noted before it was committed, and that it holds."""
    format_version: int = FORMAT_VERSION
    change: str = ""
    """A mark of the last change, by which its author knows it again when the answer got lost."""

    @property
    def view(self) -> View | None:
        """The committed records."""
        return None if self.committed is None else View(self.committed, tuple(self.aborted))

    @property
    def named_corpora(self) -> dict[str, int]:
        """`corpora`, also of a state from before there were names: all documents then belong to ""."""
        unnamed = {"": self.documents} if self.documents else {}
        return {} if self.committed is None else self.corpora or unnamed

    def adopt(self, corpora: Mapping[str, int], adopting: str) -> None:
        """Sets the counts by corpus.

        Documents without a corpus count for `adopting`, else for the corpus that adopted them before.
        """
        self.adopted = (adopting or self.adopted) if "" in corpora else ""
        self.corpora = {}
        for name, number in sorted(corpora.items()):
            owner = name or self.adopted
            self.corpora[owner] = self.corpora.get(owner, 0) + number

    @property
    def commit(self) -> tuple[str | None, int | None]:
        """Equal for two states that show the same."""
        return self.physical if self.committed is not None else None, self.committed


def shown(state: State) -> View:
    """The records that a committed state shows."""
    assert state.view is not None  # noqa: S101 (a reader's state is a committed one)
    return state.view


class Ledger:
    """One state document.

    Args:
        connection: to the server.
        name: the index's name.
        document: the state document's id; a part of a rebuild has one of its own.
    """

    def __init__(self, connection: Connection, name: str, document: str) -> None:
        self._connection, self.name, self.document = connection, name, document
        self.index = f"{name}.state"
        self._changing = Lock()
        self._ready = False

    def part(self, physical: str, number: int) -> Ledger:
        """The ledger of a part of a rebuild into an index of the engine."""
        part = Ledger(self._connection, self.name, f"part-{number}@{physical}")
        part._ready = True
        return part

    def state(self) -> State:
        """The state as it is; an empty one where there is none."""
        return self.read() or State()

    def forget(self) -> None:
        """Deletes the state document."""
        from elasticsearch import NotFoundError

        with suppress(NotFoundError):
            self._connection.ask(lambda client: client.delete(index=self.index, id=self.document), expected=(404,))

    def prepare(self, replicas: int) -> None:
        """Makes the index of the state document if it is not there. Raises ConfigError where its name is taken."""
        from elasticsearch import BadRequestError

        if self._ready or self.read() is not None:
            self._ready = True
            return
        if self._connection.ask(lambda client: client.indices.exists(index=self.name)).meta.status == 200:
            raise ConfigError(
                f"there is an index or alias {self.name} on the Elasticsearch server at {self._connection.where} that "
                "cdsframe did not make; take another index.name"
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
                raise self._connection.in_words(error) from None
            mapping = self._connection.ask(lambda client: client.indices.get_mapping(index=self.index))
            if any(found["mappings"].get("_meta", {}).get("made_by") != "cdsframe" for found in mapping.values()):
                raise self._not_ours() from None
        self._ready = True

    def _not_ours(self) -> ConfigError:
        return ConfigError(f"the Elasticsearch index {self.index} was not made by cdsframe; take another index.name")

    def read(self, until: float | None = None) -> State | None:
        """The state as it is, or None where there is none."""
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
        """The state in a document. Raises IndexMismatchError where it is of another format, or none of ours."""
        state = source.get("state") if isinstance(source, dict) else None
        version = state.get("format_version") if isinstance(state, dict) else None
        if version is None:
            raise self._not_ours()
        if version not in _READABLE:
            raise IndexMismatchError(
                f"the index {self.name} has format version {version}, this program reads {FORMAT_VERSION}; ingest "
                "again into another index.name, or use the program that made it"
            )
        return State(**state or {})

    def change(self, alter: Callable[[State], None], *, refresh: bool = False) -> State:
        """Replaces the state by what `alter` makes of it, against whoever else changes it; gives the new one.

        `alter` may be called several times, and may raise. `refresh`: readers see it when this returns.
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
                            document={"state": asdict(state)},
                            refresh=refresh,
                            require_alias=False,
                            **where,
                        ),
                        until,
                        expected=(409,),
                    )
                except ConflictError:
                    if time.monotonic() > until:
                        raise InputError(f"the index {self.name} is changed by many at once; try again") from None
                    time.sleep(random.uniform(0, 0.02))
                    continue
                return state
