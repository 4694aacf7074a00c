"""Sends bulk actions to an Elasticsearch index in parallel and checks the result of each.

Does not interpret actions. Actions must be idempotent: a request is repeated if its response is lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from cdsframe.errors import InputError, named
from cdsframe.index.elasticsearch.server.connection import (
    BUSY,
    Connection,
    OverloadedError,
    backoff,
    is_blocked,
    reason,
)
from cdsframe.types import JsonObject


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a bulk request (one or two lines). `name`: record id, `document`: document id, both for error
    messages."""

    name: str
    document: str | None
    header: bytes
    body: bytes | None = None

    @property
    def record(self) -> str:
        """The record, for error messages."""
        record = f"the record {named(self.name)}"
        return record if self.document is None else f"{record} of the document {named(self.document)}"

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.header) + len(self.body or b"") + 2


def action(verb: str, key: str, body: bytes | None, name: str, document: str | None = None, **options: Any) -> Action:
    """Makes a `create`, `update` or `delete` action for the Elasticsearch document `key`; `options`: further header
    fields."""
    import orjson

    header = {"_id": key, **{name: value for name, value in options.items() if value is not None}}
    return Action(name, document, orjson.dumps({verb: header}), body)


class Bulk:
    """Threads that send requests of about equal size to one index.

    Args:
        connection: to the server.
        threads: concurrent requests.
        megabytes: size above which a request is sent, in MB.
    """

    def __init__(self, connection: Connection, threads: int, megabytes: float) -> None:
        self._connection, self._threads, self._bytes = connection, threads, int(megabytes * 1e6)
        self._pool: ThreadPoolExecutor | None = None
        self._sent: list[Future[list[str]]] = []
        self._conflicts: list[str] = []

    def put(self, index: str, actions: Iterable[Action]) -> None:
        """Queues actions for the threads. Raises the errors of earlier requests."""
        part: list[Action] = []
        size = 0
        for one in actions:
            if one.size > self._bytes:
                self._submit(index, part)
                part, size = [], 0
                self._send_alone(index, one)
                continue
            part.append(one)
            size += one.size
            if size >= self._bytes:
                self._submit(index, part)
                part, size = [], 0
        self._submit(index, part)

    def drain(self) -> list[str]:
        """Waits for all requests. Returns the names of updates with a version conflict. Raises the errors of
        requests."""
        self._settle()
        conflicts, self._conflicts = self._conflicts, []
        return conflicts

    def close(self) -> None:
        """Waits for running requests, cancels queued ones, and ignores their results."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool, self._sent, self._conflicts = None, [], []

    def _settle(self) -> None:
        wait(self._sent)
        self._collect()

    def _send_alone(self, index: str, one: Action) -> None:
        """Sends an action larger than `megabytes` while no other request uses the server's memory."""
        self._settle()
        try:
            self._conflicts += self._send(index, [one])
        except OverloadedError:
            raise InputError(
                f"the Elasticsearch server at {self._connection.where} cannot take {one.record} ({one.size / 1e6:.1f} "
                "MB) for lack of memory; remove document from chunking.levels, set chunking.summary_sentences, or "
                "give the server more heap"
            ) from None

    def _submit(self, index: str, part: Sequence[Action]) -> None:
        if not part:
            return
        self._pool = self._pool or ThreadPoolExecutor(self._threads, thread_name_prefix="bulk")
        self._collect()
        if len(self._sent) > self._threads:  # keep one request queued for the next free thread
            wait(self._sent, return_when=FIRST_COMPLETED)
        self._sent.append(self._pool.submit(self._send, index, list(part)))

    def _collect(self) -> None:
        """Removes finished requests from the list. Raises their errors."""
        ended = [future for future in self._sent if future.done()]
        self._sent = [future for future in self._sent if future not in ended]
        for future in ended:
            self._conflicts += future.result()

    def _send(self, index: str, actions: list[Action]) -> list[str]:
        """Sends until each action has a final result. Returns the names of updates with a version conflict."""
        conflicts: list[str] = []
        until, tries = self._connection.deadline(), 0
        while actions:
            lines = [line for one in actions for line in (one.header, one.body) if line is not None]
            text = b"\n".join(lines) + b"\n"
            answer = self._connection.ask(
                lambda client, text=text: client.bulk(operations=text, index=index, require_alias=True),  # type: ignore
                until,
            )
            again: list[Action] = []
            for one, item in zip(actions, answer["items"], strict=True):
                verb, outcome = next(iter(item.items()))
                status = outcome["status"]
                if status in BUSY and not is_blocked(outcome):
                    again.append(one)
                elif status == 409 and verb == "update":
                    conflicts.append(one.name)
                elif is_blocked(outcome):
                    raise self._connection.response_error(status, outcome)
                elif status >= 300 and (verb, status) not in {("create", 409), ("delete", 404)}:
                    raise InputError(
                        f"the Elasticsearch server rejected {one.record}: {_kind(outcome)} (status {status})"
                    )
            actions, tries = again, tries + 1
            if actions:
                self._pause(tries, until)
        return conflicts

    def _pause(self, tries: int, until: float) -> None:
        pause = backoff(tries)
        if time.monotonic() + pause > until:
            raise OverloadedError(
                f"the Elasticsearch server at {self._connection.where} is overloaded and kept rejecting records; try "
                "again later, or lower index.bulk_threads"
            )
        time.sleep(pause)


def _kind(outcome: JsonObject) -> str:
    error = outcome.get("error", {})
    cause = error.get("caused_by") or error
    return str(cause.get("type") or reason(outcome))
