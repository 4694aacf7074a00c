"""What is committed, and who may write: one document in the index `NAME.state`, changed by compare-and-set only.

It is the single commit point of an index. The lease in it has an owner, who renews it, and a token that grows with each
owner (a fencing token: Gray and Cheriton 1989, "Leases"): who lost it changes this document no more, whatever it still
sends to the records. Knows nothing of records.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from uuid import uuid4

from cdsframe.errors import CdsframeError, ConfigError, IndexMismatchError, InputError
from cdsframe.index.elasticsearch.connection import Connection, reason
from cdsframe.index.elasticsearch.layout import View
from cdsframe.types import JsonObject, Level

log = logging.getLogger(__name__)

FORMAT_VERSION = 1

_POLL = 0.1
"""Seconds between two looks at a lease that somebody else holds."""


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
    token: int = 0
    lease: JsonObject | None = None
    rebuild: JsonObject | None = None
    """`physical`, `identity`, `num_shards` of the index that is to take this one's place."""
    format_version: int = FORMAT_VERSION
    change: str = ""
    """A mark of the last change, by which its author knows it again when the answer got lost."""

    @property
    def view(self) -> View | None:
        """The committed records."""
        return None if self.committed is None else View(self.committed, tuple(self.aborted))

    @property
    def commit(self) -> tuple[str | None, int | None]:
        """Equal for two states that show the same."""
        return self.physical if self.committed is not None else None, self.committed


class Ledger:
    """One state document and this process's lease on it.

    Args:
        connection: to the server.
        name: the index's name.
        document: the state document's id; a part of a rebuild has one of its own.
        lease_seconds: how long a lease lasts that its owner does not renew.
    """

    def __init__(self, connection: Connection, name: str, document: str, lease_seconds: float) -> None:
        self._connection, self.name, self.document = connection, name, document
        self.index = f"{name}.state"
        self._seconds = lease_seconds
        self._token: int | None = None
        self._until = 0.0
        self._changing = Lock()
        self._ready = False
        self._counted = 0

    def part(self, physical: str, number: int) -> Ledger:
        """The ledger of a part of a rebuild into an index of the engine."""
        part = Ledger(self._connection, self.name, f"part-{number}@{physical}", self._seconds)
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

    def next_number(self) -> int:
        """A number that is larger than all that were given before, by whatever holder of the lease."""
        self._counted += 1
        return ((self._token or 0) << 24) + self._counted

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
            self.made_already(error)
            mapping = self._connection.ask(lambda client: client.indices.get_mapping(index=self.index))
            if any(found["mappings"].get("_meta", {}).get("made_by") != "cdsframe" for found in mapping.values()):
                raise self._not_ours() from None
        self._ready = True

    def made_already(self, error: Any) -> None:
        """Passes over the error that says that an index is there already; raises any other in words."""
        if reason(error.body) != "resource_already_exists_exception":
            raise self._connection.in_words(error) from None

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
        if version != FORMAT_VERSION:
            raise IndexMismatchError(
                f"the index {self.name} has format version {version}, this program reads {FORMAT_VERSION}; ingest "
                "again into another index.name, or use the program that made it"
            )
        return State(**state or {})

    def change(
        self, alter: Callable[[State], None], *, refresh: bool = False, leased: bool = True, until: float | None = None
    ) -> State:
        """Replaces the state by what `alter` makes of it, against whoever else changes it; gives the new one.

        `alter` may be called several times, and may raise. `refresh`: readers see it when this returns. `leased`: only
        while this process holds the lease, else InputError.
        """
        from elasticsearch import ConflictError

        mark, until = uuid4().hex, self._connection.deadline() if until is None else until
        with self._changing:
            while True:
                state, version = self._read(until)
                if state is not None and state.change == mark:
                    return state
                fresh, state = state is None, state or State()
                if leased:
                    self._require_lease(state)
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

    # -------------------------------------------------------------------------------------------- the lease

    @contextmanager
    def lease(self, wait: float) -> Iterator[None]:
        """Holds the lease, which a thread renews. Raises InputError where another's does not end in `wait` seconds."""
        self._take(wait)
        done = Event()
        renewal = Thread(target=self._renew, args=(done,), name=f"lease on {self.name}", daemon=True)
        renewal.start()
        try:
            yield
        finally:
            done.set()
            renewal.join()
            with suppress(CdsframeError):  # it runs out by itself
                self.change(lambda state: setattr(state, "lease", None))
            self._token = None

    def require_lease(self) -> None:
        """Raises InputError where the lease ran out, as far as this process knows."""
        if time.time() > self._until:
            raise self._lost()

    def _require_lease(self, state: State) -> None:
        if self._token is None or state.lease is None or state.lease["token"] != self._token:
            raise self._lost()

    def _lost(self) -> InputError:
        return InputError(
            f"the lease on the index {self.name} was lost, as this process did not renew it for {self._seconds:g} "
            "seconds; what it wrote since the last commit is not seen by anybody: run it again"
        )

    def _take(self, wait: float) -> None:
        until = time.monotonic() + wait
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "machine": _machine(), "command": _command()}
        holder: JsonObject = {}

        def take(state: State) -> None:
            holder.clear()
            if state.lease is not None and not is_over(state.lease):
                holder.update(state.lease)
                raise _HeldError
            state.token += 1
            self._until = time.time() + self._seconds
            state.lease = {"token": state.token, "owner": owner, "since": time.time(), "expires": self._until}

        while True:
            try:
                self._token = self.change(take, leased=False).token
            except _HeldError:
                if time.monotonic() >= until:
                    raise InputError(f"the index {self.name} is being written by {named(holder)}") from None
                time.sleep(_POLL * random.uniform(0.5, 1.5))
            else:
                return

    def _renew(self, done: Event) -> None:
        def later(state: State) -> None:
            state.lease = {**(state.lease or {}), "expires": time.time() + self._seconds}

        while not done.wait(self._seconds / 3):
            try:
                lease = self.change(later).lease
            except CdsframeError as error:
                log.warning("%s", error)
            else:
                self._until = lease["expires"] if lease else 0.0


class _HeldError(Exception):
    """Another process holds the lease."""


def is_over(lease: JsonObject) -> bool:
    """Whether a lease has run out, or its owner was a process of this machine that is no more."""
    if time.time() > lease["expires"]:
        return True
    owner = lease["owner"]
    if owner["machine"] is None or owner["machine"] != _machine():
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _machine() -> str | None:
    """What tells this run of this machine, and its process numbers, from any other; None where nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _command() -> str:
    """The program's name, without its arguments."""
    return Path(sys.argv[0]).name or "python"


def named(lease: JsonObject) -> str:
    """Who holds a lease, and what to do about it."""
    owner = lease["owner"]
    since = datetime.fromtimestamp(lease["since"]).astimezone().isoformat(" ", "seconds")
    return f"{owner['command']} (process {owner['pid']} on {owner['host']}, since {since}); wait for its end"
