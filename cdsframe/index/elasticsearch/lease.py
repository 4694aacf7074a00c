"""The lease on a ledger: one writer at a time, from whatever machine.

Its owner renews it by a thread; who dies leaves it to run out. A token grows with each owner (a fencing token: Gray and
Cheriton 1989, "Leases"): who lost the lease changes the ledger no more, whatever it still sends to the records.
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
        if time.time() > self._until:
            self.renew()

    def next_number(self) -> int:
        """A number that is larger than all that any holder was given before."""
        self._counted += 1
        return ((self._token or 0) << 24) + self._counted

    def renew(self) -> None:
        """Makes it last from now on."""

        def later(state: State) -> None:
            state.lease = {**(state.lease or {}), "expires": time.time() + self._seconds}

        lease = self.change(later).lease
        self._until = lease["expires"] if lease else 0.0

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

    def _take(self, wait: float) -> State:
        until = time.monotonic() + wait
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "machine": machine(), "command": _command()}
        holder: JsonObject = {}

        def take(state: State) -> None:
            own = state.lease is not None and state.lease["token"] == self._last  # it could not be given back
            if state.lease is not None and not own and not is_over(state.lease):
                holder.update(state.lease)
                raise _HeldError
            state.token += 1
            self._until = time.time() + self._seconds
            state.lease = {"token": state.token, "owner": owner, "since": time.time(), "expires": self._until}

        while True:
            try:
                state = self._ledger.change(take)
                self._token = state.token
                return state
            except _HeldError:
                if time.monotonic() >= until:
                    raise InputError(f"the index {self._ledger.name} is being written by {named(holder)}") from None
                time.sleep(_POLL * random.uniform(0.5, 1.5))


class _HeldError(Exception):
    """Another process holds the lease."""


def is_over(lease: JsonObject) -> bool:
    """Whether a lease has run out, or its owner was a process of this machine that is no more."""
    if time.time() > lease["expires"]:
        return True
    owner = lease["owner"]
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
