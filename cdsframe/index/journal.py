"""Stores the changes made to an index during its rebuild until the rebuild replays them, as JSON Lines.

Does not interpret changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdsframe.types import JsonObject


class Journal:
    """An append-only file. `read` ignores and `append` removes an incomplete last line: its `append` never returned."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def append(self, change: Mapping[str, Any]) -> None:
        """Appends a change; returns when it is on disk (fsync)."""
        line = json.dumps(change, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"
        with self._file.open("a+b") as file:
            if file.tell() and not self._ends_whole():
                file.truncate(_whole(self._file))
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[JsonObject]:
        """All changes, in order."""
        if not self._file.is_file():
            return []
        lines = self._file.read_bytes()[: _whole(self._file)].splitlines()
        return [json.loads(line.decode("utf-8", "surrogatepass")) for line in lines]

    def _ends_whole(self) -> bool:
        with self._file.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def clear(self) -> None:
        self._file.unlink(missing_ok=True)


def _whole(file: Path) -> int:
    """Length in bytes of the file's complete lines."""
    return file.read_bytes().rfind(b"\n") + 1
