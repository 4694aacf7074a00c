"""Keeps results of a model by key in an SQLite file. Does not compute them and does not make the keys."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cdsframe.errors import InputError

T = TypeVar("T")

_WAIT = 60.0
"""Seconds to wait for another process that writes."""


class ResultStore:
    """JSON values by key, in a file that only its owner can read.

    Args:
        path: the file; created with its folder when it is first used.
        holds: what the values are, in the plural; also the table's name, with `_` for blanks.

    Raises InputError if the file is damaged, or cannot be written.
    """

    def __init__(self, path: Path, holds: str) -> None:
        self._path, self._holds, self._table = path, holds, holds.replace(" ", "_")

    def read(self, keys: Sequence[str], value: Callable[[Any], T]) -> dict[str, T]:
        """Key -> value, for the keys that are stored.

        `value`: makes a value of its JSON; raises ValueError, KeyError or TypeError if it is none.
        """
        select = f"SELECT value FROM {self._table} WHERE key = ?"  # noqa: S608 (the table's name is ours)
        with self._open() as database:
            rows = (database.execute(select, [key]).fetchone() for key in keys)
            return {key: value(json.loads(row[0])) for key, row in zip(keys, rows, strict=True) if row}

    def write(self, found: Mapping[str, Any]) -> None:
        """Stores values; they are on disk when this returns."""
        rows = [(key, json.dumps(one)) for key, one in found.items()]
        with self._open() as database, database:
            database.executemany(
                f"INSERT OR REPLACE INTO {self._table} VALUES (?, ?)",  # noqa: S608 (the table's name is ours)
                rows,
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            try:
                os.fchmod(place, 0o600)
            finally:
                os.close(place)
            database = sqlite3.connect(self._path, timeout=_WAIT)
            try:
                database.execute(f"CREATE TABLE IF NOT EXISTS {self._table} (key TEXT PRIMARY KEY, value TEXT)")
                yield database
            finally:
                database.close()
        except (sqlite3.Error, OSError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise InputError(self._unusable(reason)) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(self._unusable(f"it holds something else than {self._holds}")) from None

    def _unusable(self, reason: str) -> str:
        return (
            f"evaluation.cache: {self._path} cannot be used: {reason}; free disk space, delete the file if it is "
            "damaged, or set evaluation.cache=null"
        )
