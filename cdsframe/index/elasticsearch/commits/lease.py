"""Lease on a ledger: one writer at a time across machines.

A thread of the owner renews the lease. If the owner dies, the lease expires by the clock of the waiting process. Each
owner gets a larger token (a fencing token: Gray and Cheriton 1989, "Leases"): a process that lost the lease may still
write records, but cannot change the ledger.
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
from cdsframe.index.elasticsearch.commits.ledger import Ledger, State
from cdsframe.types import JsonObject

log = logging.getLogger(__name__)

_POLL = 0.1
"""Seconds between two checks of a lease that another process holds."""


class Lease:
    """The right of one process to write an index, recorded in the index's ledger.

    Args:
        ledger: the document that records what is committed; only the owner of the lease may change it.
        seconds: the lease expires after this time without renewal.
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
        """Yields the ledger's state. Raises InputError, naming the holder, if another lease does not end within `wait`
        seconds."""
        state = self._take(wait)
        done = Event()
        renewal = Thread(target=self._renew_until, args=(done,), name=f"lease on {self._ledger.name}", daemon=True)
        renewal.start()
        try:
            yield state
        finally:
            done.set()
            renewal.join()
            with suppress(CdsframeError):  # if this fails, the lease expires
                self.change(lambda state: setattr(state, "lease", None))
            self._token, self._last = None, self._token

    def change(self, alter: Callable[[State], None], *, refresh: bool = False) -> State:
        """Changes the ledger as its owner. Raises InputError if the lease was lost."""

        def guarded(state: State) -> None:
            if self._token is None or state.lease is None or state.lease["token"] != self._token:
                raise self._lost()
            alter(state)

        return self._ledger.change(guarded, refresh=refresh)

    def require(self) -> None:
        """Raises InputError if the lease expired and another writer took it; renews it if nobody took it."""
        if time.monotonic() > self._until:
            self.renew()

    def next_number(self) -> int:
        """A number larger than all numbers that earlier calls, of this or of earlier holders, returned."""
        self._counted += 1
        return ((self._token or 0) << 24) + self._counted

    def renew(self) -> None:
        """Renews the lease for its full duration."""

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
            f"the lease on the index {self._ledger.name} was lost: this process did not renew it for "
            f"{self._seconds:g} seconds; its writes since the last commit are not visible: run the command again"
        )

    def holder(self) -> JsonObject | None:
        """The ledger's lease; None if no live process holds it. May wait for the duration of a lease."""
        until = time.monotonic()
        while True:
            lease = self._ledger.state().lease
            if lease is None or self._is_over(lease):
                return None
            if time.monotonic() >= until + _patience(lease):
                return lease
            time.sleep(_POLL)

    def _is_over(self, lease: JsonObject) -> bool:
        """Whether the owner is dead: its process on this machine ended, or it did not renew the lease for its duration
        while this process watched. The owner's clock does not count."""
        if _is_dead(lease["owner"]):
            return True
        mark, now = (lease["token"], lease["expires"]), time.monotonic()
        if self._watched[0] != mark:
            self._watched = mark, now
        return bool(now - self._watched[1] > lease["seconds"])

    def _take(self, wait: float) -> State:
        until = time.monotonic()
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "machine": machine(), "command": _command()}
        holder: JsonObject = {}

        def take(state: State) -> None:
            own = state.lease is not None and state.lease["token"] == self._last  # own lease whose release failed
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
                    raise InputError(f"the index {self._ledger.name} is being written by {described(holder)}") from None
                time.sleep(_POLL * random.uniform(0.5, 1.5))


class _HeldError(Exception):
    """Another process holds the lease."""


def _patience(lease: JsonObject) -> float:
    """Minimum seconds to watch a lease: its duration if its time of expiry has passed, since clocks differ; else 0."""
    return lease["seconds"] + 2 * _POLL if time.time() > lease["expires"] else 0.0


def _is_dead(owner: JsonObject) -> bool:
    """Whether the owner was a process of this machine that ended."""
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
    """Identifies this boot and PID namespace of this machine; None if the system has no such id."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _command() -> str:
    """The program's name without its arguments."""
    return Path(sys.argv[0]).name or "python"


def described(lease: JsonObject) -> str:
    """The holder of a lease, for messages, with the advice to wait."""
    owner = lease["owner"]
    since = datetime.fromtimestamp(lease["since"]).astimezone().isoformat(" ", "seconds")
    holder = f"{owner['command']} (process {owner['pid']} on {owner['host']}, since {since})"
    return f"{holder}; wait until that process has finished"
