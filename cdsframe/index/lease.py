"""One writer at a time in a folder: a lock that its holder's death frees, with the holder's name beside it.

By `flock`, which the system lets go of when a process ends, however it ends. Does not reach hosts that do not share
the folder's file system.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cdsframe.errors import InputError

WRITER, REBUILD = "writer", "rebuild"
"""The leases of an index: of who writes it, and of who fills what will take its place."""

FILES = {f".{name}.{kind}" for name in (WRITER, REBUILD) for kind in ("lock", "json")}
"""The names of all their files."""


class Lease:
    """An exclusive lock, entered again by the thread that holds it.

    Args:
        folder: where its files are; made when it is taken.
        name: `WRITER` or `REBUILD`; of its files, `.<name>.lock` and `.<name>.json`.
        doing: what its holder does, for the error: `the index demo is being written`.
    """

    def __init__(self, folder: Path, name: str, doing: str) -> None:
        self._file, self._owner, self._doing = folder / f".{name}.lock", folder / f".{name}.json", doing
        self._lock: Any = None

    @property
    def held(self) -> bool:
        """Whether this thread holds it."""
        return self._lock is not None and self._lock.is_locked

    @contextmanager
    def hold(self, wait: float) -> Iterator[bool]:
        """Yields whether it was not held before. Raises InputError, which names the holder, after `wait` seconds."""
        from filelock import FileLock, Timeout

        self._lock = self._lock or FileLock(self._file)
        outermost = not self._lock.is_locked
        while True:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=wait)
                break
            except Timeout:
                raise InputError(f"{self._doing} by {self._holder()}; wait for its end") from None
            except FileNotFoundError:  # the holder removed a folder that it left empty
                continue
        try:
            if outermost:
                self._owner.write_text(json.dumps(_me()), encoding="utf-8")
            yield outermost
        finally:
            if outermost:
                self._owner.unlink(missing_ok=True)
            self._lock.release()

    def _holder(self) -> str:
        with suppress(OSError, ValueError, KeyError, TypeError):  # it may be gone, or not be written yet
            owner = json.loads(self._owner.read_text(encoding="utf-8"))
            return f"{owner['command']} (process {owner['process']} on {owner['host']}, since {owner['since']})"
        return "another process"


def _me() -> dict[str, Any]:
    return {
        "command": Path(sys.argv[0]).name or "python",
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
