"""An index in one folder by LanceDB: BM25 over its full-text index, exact kNN, filters applied inside the search.

`manifest.json` is the commit point. Readers see the table at the version that it names; writes make newer versions that
nobody sees until `commit`, so a killed ingest changes no answer, and the next one goes on from what it left behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.errors import ConfigError, InputError
from cdsframe.files import write_json
from cdsframe.index import table
from cdsframe.index.identity import (
    FORMAT_VERSION,
    Identity,
    damaged,
    explained,
    manifest_of,
    require_dimension,
    require_same,
)
from cdsframe.types import Hit, Passage, Request, digest, flatten

if TYPE_CHECKING:
    import numpy as np

_TABLE = "passages"
_KEEP_OLD = timedelta(minutes=10)
"""How long a superseded version stays on disk for readers that are in the middle of a search."""


class LanceIndex:
    """A LanceDB table with its manifest in the folder `path/name`.

    BM25 with LanceDB's constants (k1 = 1.2, b = .75) over title, heading and text, English stems; vectors are compared
    one by one, exactly.

    Args:
        path: the folder that holds the indexes.
        name: the index's own folder in it.
        identity: the settings that its content depends on; an index that was made with others is refused.
    """

    ephemeral = False

    def __init__(self, path: str, name: str, identity: Identity) -> None:
        problems = self.problems(name)
        if problems:
            raise ConfigError(problems)
        self._folder, self._name = Path(path) / name, name
        self._identity: Identity = json.loads(json.dumps({group: dict(values) for group, values in identity.items()}))
        self._manifest_path = self._folder / "manifest.json"
        self._lock: Any = None
        self._opened: tuple[Any, Any, dict[str, Any]] | None = None

    @staticmethod
    def problems(name: str) -> list[str]:
        """Empty if the name can be a folder's."""
        if re.fullmatch(r"\w[\w.-]*", name):
            return []
        return [f"index.name must be letters, digits, dots, hyphens and underscores, got {name!r}"]

    @property
    def digest(self) -> str | None:
        return manifest_of(self._folder)["digest"] if self._manifest_path.is_file() else None

    # -------------------------------------------------------------------------------------------- reading

    def documents(self) -> dict[str, str]:
        with explained(self._folder):
            head = self._head()
            return {} if head is None else table.digests(head)

    def passages(self, document_ids: Sequence[str]) -> list[Passage]:
        with explained(self._folder):
            return table.of_documents(self._reader()[0], document_ids)

    def search(self, requests: Sequence[Request]) -> list[list[Hit]]:
        with explained(self._folder):
            committed, manifest = self._reader()
            for request in requests:
                if request.vector is not None:
                    require_dimension(self._name, manifest["dimension"], len(request.vector))
            return table.search(committed, requests)

    def _reader(self) -> tuple[Any, dict[str, Any]]:
        """The table as the manifest has it, and the manifest; opened anew when another commit has replaced it."""
        try:
            stat = self._manifest_path.stat()
        except FileNotFoundError:
            raise ConfigError(
                f"there is no index {self._name} in {self._folder.parent}; make one: "
                f"python ingest.py index.name={self._name}"
            ) from None
        stamp = (stat.st_ino, stat.st_mtime_ns)
        if self._opened is None or self._opened[0] != stamp:
            manifest = manifest_of(self._folder)
            require_same(self._name, manifest["identity"], self._identity)
            try:
                committed = self._connect().open_table(_TABLE)
                committed.checkout(manifest["table_version"])
            except ValueError:  # so LanceDB says that there is none
                raise damaged(self._folder, "its table is not there") from None
            self._opened = stamp, committed, manifest
        return self._opened[1:]

    # -------------------------------------------------------------------------------------------- writing

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Raises InputError where another process writes, IndexMismatchError where other settings made the index."""
        from filelock import FileLock, Timeout

        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock or FileLock(self._folder / ".writer.lock", timeout=0)
        outermost = not self._lock.is_locked
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"the index {self._name} is being written by another process; wait for its end") from None
        try:
            if self._manifest_path.is_file():
                require_same(self._name, manifest_of(self._folder)["identity"], self._identity, writing=True)
            with explained(self._folder):
                yield
        finally:
            if outermost:
                self._remove_if_empty()
            self._lock.release()

    def _remove_if_empty(self) -> None:
        """Takes away the folder that the writer made, where nothing but the lock came into it."""
        lock = Path(self._lock.lock_file)
        with suppress(OSError):  # Windows does not remove a file that is open
            if list(self._folder.iterdir()) == [lock]:
                lock.unlink()
                self._folder.rmdir()

    def write(self, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        dimension = None if vectors is None else int(vectors.shape[1])
        with self.writer():
            head = self._head()
            if head is None:
                schema = table.schema(dimension, json.dumps(self._identity, sort_keys=True))
                head = self._connect().create_table(_TABLE, schema=schema)
            require_dimension(self._name, table.dimension(head), dimension)
            table.delete(head, [passage.document_id for passage in passages])
            table.add(head, passages, vectors)

    def delete(self, document_ids: Sequence[str]) -> None:
        with self.writer():
            head = self._head()
            if head is not None:
                table.delete(head, document_ids)

    def commit(self) -> None:
        with self.writer():
            head = self._head()
            if head is None:
                return
            if self._manifest_path.is_file() and manifest_of(self._folder)["table_version"] == head.version:
                return
            head.optimize(cleanup_older_than=timedelta(days=36500))  # joins small files; what the manifest names stays
            table.make_indexes(head)
            documents = table.digests(head)
            manifest = {
                "format_version": FORMAT_VERSION,
                "name": self._name,
                "identity": self._identity,
                "dimension": table.dimension(head),
                "documents": len(documents),
                "passages": head.count_rows(),
                "digest": digest(json.dumps(self._identity, sort_keys=True), *flatten(documents)),
                "table_version": head.version,
            }
            write_json(self._manifest_path, manifest)
            head.optimize(cleanup_older_than=_KEEP_OLD)

    def _head(self) -> Any | None:
        """The table with all that was written, or None; a writer drops what other settings left uncommitted."""
        if not self._folder.is_dir():
            return None
        database = self._connect()
        try:
            head = database.open_table(_TABLE)
        except ValueError:  # so LanceDB says that there is none
            if self._manifest_path.is_file():
                raise damaged(self._folder, "its table is not there") from None
            return None
        made = json.loads((head.schema.metadata or {}).get(b"identity", b"{}"))
        writing = self._lock is not None and self._lock.is_locked
        if writing and made != self._identity and not self._manifest_path.is_file():
            database.drop_table(_TABLE)
            return None
        return head

    def _connect(self) -> Any:
        import lancedb

        return lancedb.connect(self._folder, read_consistency_interval=timedelta(0))
