"""Lock of a folder: one holder at a time, released when its process dies. A second file names the holder.

Uses `flock`, which the operating system releases when the process ends. Does not work across hosts unless they share
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
"""The locks of an index: a process holds WRITER while it writes the index, REBUILD while it fills a replacement."""

FILES = {f".{name}.{kind}" for name in (WRITER, REBUILD) for kind in ("lock", "json")}
"""Names of the lock files."""


class FolderLock:
    """An exclusive lock, reentrant for the thread that holds it.

    Args:
        folder: the folder of the lock files; created when the lock is acquired.
        name: `WRITER` or `REBUILD`; the files are `.<name>.lock` and `.<name>.json`.
        doing: the holder's activity, for the error message: `the index demo is being written`.
    """

    def __init__(self, folder: Path, name: str, doing: str) -> None:
        self._file, self._owner, self._doing = folder / f".{name}.lock", folder / f".{name}.json", doing
        self._lock: Any = None

    @property
    def held(self) -> bool:
        """Whether this thread holds the lock."""
        return self._lock is not None and self._lock.is_locked

    @contextmanager
    def hold(self, wait: float) -> Iterator[bool]:
        """Yields True if this entry acquired the lock, False if the thread held it already.

        Raises InputError, naming the holder, if another holder does not release the lock within `wait` seconds.
        """
        from filelock import FileLock, Timeout

        self._lock = self._lock or FileLock(self._file)
        outermost = not self._lock.is_locked
        while True:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=wait)
                break
            except Timeout:
                raise InputError(f"{self._doing} by {self._holder()}; wait until that process has finished") from None
            except FileNotFoundError:  # the former holder removed the folder, which was empty
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
        with suppress(OSError, ValueError, KeyError, TypeError):  # the file was removed, or is not written yet
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
