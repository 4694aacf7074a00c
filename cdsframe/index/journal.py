"""Changes that are kept until they are replayed: JSON Lines, each on disk before it is acknowledged.

Does not know what a change means.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdsframe.types import JsonObject


class Journal:
    """A file that grows by a line at a time. A line that its writer did not finish was never acknowledged."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def append(self, change: Mapping[str, Any]) -> None:
        """Returns when the change is on disk."""
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
    """The length of the file's finished lines."""
    return file.read_bytes().rfind(b"\n") + 1
