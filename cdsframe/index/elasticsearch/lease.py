"""The lease on a ledger: one writer at a time, from whatever machine.

Its owner renews it by a thread; who dies leaves it to run out, by the clock of whoever waits for it. A token grows with
each owner (a fencing token: Gray and Cheriton 1989, "Leases"): who lost the lease changes the ledger no more, whatever
it still sends to the records.
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
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from cdsframe.errors import CdsframeError, InputError
from cdsframe.index.elasticsearch.ledger import Ledger, State
from cdsframe.types import JsonObject

log = logging.getLogger(__name__)

_POLL = 0.1
"""Seconds between two looks at a lease that somebody else holds."""


class Lease:
    """This object's lease on a ledger.

    Args:
        ledger: whose changes it guards.
        seconds: how long it lasts where it is not renewed.
    """

    def __init__(self, ledger: Ledger, seconds: float) -> None:
        self._ledger, self._seconds = ledger, seconds
        self._token: int | None = None
        self._last: int | None = None
        self._until = 0.0
        self._counted = 0
        self._watched: tuple[Any, float] = (None, 0.0)

    @contextmanager
    def hold(self, wait: float) -> Iterator[State]:
        """Yields the state. Raises InputError, which names the holder, where another's does not end in that time."""
        state = self._take(wait)
        done = Event()
        renewal = Thread(target=self._renew_until, args=(done,), name=f"lease on {self._ledger.name}", daemon=True)
        renewal.start()
        try:
            yield state
        finally:
            done.set()
            renewal.join()
            with suppress(CdsframeError):  # it runs out by itself
                self.change(lambda state: setattr(state, "lease", None))
            self._token, self._last = None, self._token

    def change(self, alter: Callable[[State], None], *, refresh: bool = False) -> State:
        """Changes the ledger as its owner. Raises InputError where the lease was lost."""

        def guarded(state: State) -> None:
            if self._token is None or state.lease is None or state.lease["token"] != self._token:
                raise self._lost()
            alter(state)

        return self._ledger.change(guarded, refresh=refresh)

    def require(self) -> None:
        """Raises InputError where the lease ran out and another writer took it; one that nobody took is renewed."""
        if time.monotonic() > self._until:
            self.renew()

    def next_number(self) -> int:
        """A number that is larger than all that any holder was given before."""
        self._counted += 1
        return ((self._token or 0) << 24) + self._counted

    def renew(self) -> None:
        """Makes it last from now on."""

        until = 0.0

        def later(state: State) -> None:
            nonlocal until
            until = time.monotonic() + self._seconds
            state.lease = {**(state.lease or {}), "expires": time.time() + self._seconds}

        self.change(later)
        self._until = until

    def _renew_until(self, done: Event) -> None:
        while not done.wait(self._seconds / 3):
            try:
                self.renew()
            except CdsframeError as error:
                log.warning("%s", error)

    def _lost(self) -> InputError:
        return InputError(
            f"the lease on the index {self._ledger.name} was lost, as this process did not renew it for "
            f"{self._seconds:g} seconds; what it wrote since the last commit is not seen by anybody: run it again"
        )

    def holder(self) -> JsonObject | None:
        """Whose lease it is, by what the ledger says; None where nobody alive has it. May take as long as a lease."""
        until = time.monotonic()
        while True:
            lease = self._ledger.state().lease
            if lease is None or self._is_over(lease):
                return None
            if time.monotonic() >= until + _patience(lease):
                return lease
            time.sleep(_POLL)

    def _is_over(self, lease: JsonObject) -> bool:
        """Whether its owner is dead: a process of this machine that is no more, or one that did not renew the lease
        for as long as it lasts while this process watched. What the owner's clock says is no matter."""
        if _is_dead(lease["owner"]):
            return True
        mark, now = (lease["token"], lease["expires"]), time.monotonic()
        if self._watched[0] != mark:
            self._watched = mark, now
        return now - self._watched[1] > lease["seconds"]

    def _take(self, wait: float) -> State:
        until = time.monotonic()
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "machine": machine(), "command": _command()}
        holder: JsonObject = {}

        def take(state: State) -> None:
            own = state.lease is not None and state.lease["token"] == self._last  # it could not be given back
            if state.lease is not None and not own and not self._is_over(state.lease):
                holder.update(state.lease)
                raise _HeldError
            state.token += 1
            self._until, now = time.monotonic() + self._seconds, time.time()
            state.lease = {"token": state.token, "owner": owner, "since": now, "seconds": self._seconds}
            state.lease["expires"] = now + self._seconds

        while True:
            try:
                state = self._ledger.change(take)
                self._token = state.token
                return state
            except _HeldError:
                if time.monotonic() >= until + max(wait, _patience(holder)):
                    raise InputError(f"the index {self._ledger.name} is being written by {named(holder)}") from None
                time.sleep(_POLL * random.uniform(0.5, 1.5))


class _HeldError(Exception):
    """Another process holds the lease."""


def _patience(lease: JsonObject) -> float:
    """Seconds to watch a lease at least: where it seems to have run out, until that is certain."""
    return lease["seconds"] + 2 * _POLL if time.time() > lease["expires"] else 0.0


def _is_dead(owner: JsonObject) -> bool:
    """Whether an owner was a process of this machine that is no more."""
    if owner["machine"] is None or owner["machine"] != machine():
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def machine() -> str | None:
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
