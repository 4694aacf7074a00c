"""An index in one folder by LanceDB: BM25 by its full-text index, exact kNN, filters applied inside the search.

This module replaces tables (rebuild, purge); `committed` reads and commits them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdsframe.artifacts.files import read_json, write_json
from cdsframe.errors import ConfigError
from cdsframe.index import table
from cdsframe.index.committed import CommittedTable
from cdsframe.index.folder_lock import REBUILD, FolderLock
from cdsframe.index.identity import Identity
from cdsframe.index.journal import Journal
from cdsframe.types import JsonObject

_SWAP_WAIT = 600.0
"""Seconds that a rebuild waits for another writer when it begins and when it commits."""


class LanceIndex(CommittedTable):
    """LanceDB tables with their manifest in the folder `path/name`.

    BM25 uses LanceDB's constants (k1 = 1.2, b = .75) over title, heading and text, with English stems. kNN compares all
    vectors exactly. Rows that a commit without `optimize` adds to a large table are searched without an index, with
    BM25 statistics that include these rows. The scores of the indexed rows ignore the new rows until the next
    `optimize`.

    Args:
        path: the folder that holds the indexes.
        name: the index's own folder in it.
        identity: the settings that determine the content; using an index with other settings raises IndexMismatchError.
    """

    def __init__(self, path: str, name: str, identity: Identity) -> None:
        super().__init__(path, name, identity)
        self._rebuild_path = self._folder / "rebuild.json"
        self._journal = Journal(self._folder / "journal.jsonl")

    @contextmanager
    def rebuild(self, shard: int = 0, num_shards: int = 1) -> Iterator[LanceIndex]:
        if num_shards > 1:
            raise ConfigError(
                "index=lance allows one writer, so ingestion.num_shards must be 1; use index=elasticsearch for "
                "several shards"
            )
        lock = self._rebuild_lock()
        with lock.hold(0):
            with self._hold(_SWAP_WAIT):
                name = self._begin_rebuild()
            yield _Rebuild(self, name, lock)

    @property
    def rebuilding(self) -> bool:
        return self._rebuilt_table() is not None

    def note(self, change: Mapping[str, Any]) -> None:
        with self.writer():
            self._journal.append(change)

    def noted(self) -> list[JsonObject]:
        return self._journal.read() if self.rebuilding else []

    def abandon(self) -> None:
        with self._rebuild_lock().hold(0), self._hold(0):
            self._end_rebuild()
            self._remove_superseded()

    def purge(self, document_ids: Sequence[str]) -> None:
        """See `Index.purge`. Also drops uncommitted writes and a killed rebuild.

        Raises InputError if a rebuild is in progress.
        """
        with self._rebuild_lock().hold(0), self.writer():
            self._end_rebuild()
            self.discard()
            head = self._head()
            if head is not None:
                name = self._new_name()
                purged = table.copy(head, self._connect(), name, document_ids)
                contents = table.contents(purged)
                table.make_indexes(purged, contents.records)
                self._publish(purged, name, contents, optimized=True)
            self._remove_superseded(leave_errors=False)

    def _rebuild_lock(self) -> FolderLock:
        return FolderLock(self._folder, REBUILD, f"the index {self._name} is being rebuilt")

    def _rebuilt_table(self) -> str | None:
        """Name of the table that an unfinished rebuild fills; None if no rebuild is unfinished."""
        if not self._rebuild_path.is_file():
            return None
        name = read_json(self._rebuild_path, "index")["table"]
        manifest = self._manifest()
        return None if manifest is not None and manifest["table"] == name else name

    def _replacing(self) -> bool:
        begun = self._rebuilt_table() is not None
        return begun and read_json(self._rebuild_path, "index")["identity"] == self._identity

    def _begin_rebuild(self) -> str:
        """Returns the name of the table to fill: that of a killed rebuild with the same settings, or a new one."""
        name = self._rebuilt_table()
        if name is None:
            self._end_rebuild()
        elif self._replacing():
            return name
        made = self._new_name()
        write_json(self._rebuild_path, {"table": made, "identity": self._identity})
        self._remove_superseded()
        return made

    def _end_rebuild(self) -> None:
        self._journal.clear()
        self._rebuild_path.unlink(missing_ok=True)

    def _new_name(self) -> str:
        used = [int(file.stem) for file in self._tables() if file.stem.isdigit()]
        return str(max([*used, int(self._table_name())]) + 1)

    def _tables(self) -> list[Path]:
        return list(self._folder.glob("*.lance"))

    def _remove_superseded(self, *, leave_errors: bool = True) -> None:
        """Removes the tables that a rebuild or a purge replaced; a reader of a removed table reopens the index.

        `leave_errors`: True leaves tables that cannot be removed to the next writer; False raises the error.
        """
        for file in self._tables():
            if file.stem not in (self._table_name(), self._rebuilt_table()):
                shutil.rmtree(file, ignore_errors=leave_errors)


class _Rebuild(LanceIndex):
    """The table that a rebuild fills; its commit makes it the index's table."""

    def __init__(self, index: LanceIndex, name: str, lock: FolderLock) -> None:
        super().__init__(index._path, index._name, index._identity)
        self._index, self._table, self._lock = index, name, lock

    def _manifest(self) -> dict[str, Any] | None:
        manifest = super()._manifest() if self._manifest_path.is_file() else None
        return manifest if manifest and manifest["table"] == self._table else None

    def _table_name(self) -> str:
        return self._table

    def annotate(self, key: str, value: JsonObject | None) -> None:
        self._index.annotate(key, value)

    def commit(self, *, optimize: bool = False) -> None:
        with self._index.writer(_SWAP_WAIT):
            super().commit(optimize=optimize)
            if self._manifest() is not None:
                self._end_rebuild()
                self._remove_superseded()
