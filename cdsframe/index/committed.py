"""Reads and commits LanceDB tables in a folder. Does not replace a table (see `lance`).

`manifest.json` is the commit point. Readers open the table and version that the manifest names. Writes create newer
versions that stay invisible until `commit`, so a killed writer changes no answer, and the next writer resumes from the
uncommitted version.
"""

from __future__ import annotations

import json
import logging
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cdsframe.artifacts.digests import digest, flatten
from cdsframe.artifacts.files import read_json, write_json
from cdsframe.contracts import Choose
from cdsframe.errors import ConfigError, InputError
from cdsframe.index import table, table_search
from cdsframe.index.annotations import with_annotation
from cdsframe.index.folder_lock import FILES, WRITER, FolderLock
from cdsframe.index.identity import (
    FORMAT_VERSION,
    Identity,
    damaged,
    explained,
    manifest_of,
    require_dimension,
    require_same,
    with_form,
)
from cdsframe.index.keys import require_different
from cdsframe.index.ordinal_ranges import OrdinalRange
from cdsframe.metadata import known_fields
from cdsframe.types import Filters, Hit, JsonObject, Level, Passage, Request

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_FIRST = "1"
"""Name of an index's first table. A rebuild or purge creates a table whose name is the next number."""

_KEEP_OLD = timedelta(minutes=10)
"""How long superseded versions of the table stay on disk for searches in progress."""

_SMALL = 4000
"""Tables with up to this many records are re-indexed on every commit (about 0.1 s)."""

_PIECES = 64
"""Above this number of fragments, a commit compacts the table and adds its new rows to the BM25 indexes."""

_T = TypeVar("_T")


class CommittedTable(ABC):
    """Implements the methods of `Index` that need one table only; `LanceIndex` implements the others."""

    ephemeral = False

    def __init__(self, path: str, name: str, identity: Identity) -> None:
        problems = self.problems(name)
        if problems:
            raise ConfigError(problems)
        self._path, self._folder, self._name = path, Path(path) / name, name
        settings = {group: dict(values) for group, values in with_form(identity).items()}
        self._identity: Identity = json.loads(json.dumps(settings))
        self._manifest_path = self._folder / "manifest.json"
        self._annotations_path = self._folder / "annotations.json"
        self._lock = FolderLock(self._folder, WRITER, f"the index {name} is being written")
        self._database: Any = None
        self._adopting = ""
        self._opened: tuple[Any, Any, dict[str, Any]] | None = None

    @staticmethod
    def problems(name: str) -> list[str]:
        """Returns the problems of the options: `name` must be letters, digits, dots, hyphens and underscores."""
        if re.fullmatch(r"\w[\w.-]*", name):
            return []
        return [f"index.name must be letters, digits, dots, hyphens and underscores, got {name!r}"]

    @property
    def digest(self) -> str | None:
        manifest = self._manifest()
        return None if manifest is None else manifest["digest"]

    @property
    def levels(self) -> Mapping[Level, int]:
        manifest = self._manifest()
        return {} if manifest is None else manifest["records"]

    @property
    def corpora(self) -> Mapping[str, int]:
        manifest = self._manifest() or {}
        before = {"": manifest["documents"]} if manifest.get("documents") else {}
        found: Mapping[str, int] = manifest.get("corpora", before)
        return found

    @property
    def annotations(self) -> Mapping[str, JsonObject]:
        if not self._annotations_path.is_file():
            return {}
        try:
            found: dict[str, JsonObject] = read_json(self._annotations_path, "index")
        except InputError as error:
            raise ConfigError(f"{error}; delete the file, then run evaluation=tune again") from None
        return found

    def annotate(self, key: str, value: JsonObject | None) -> None:
        with self.writer():
            write_json(self._annotations_path, with_annotation(self.annotations, key, value))

    def _manifest(self) -> dict[str, Any] | None:
        """The manifest of the last commit; None before the first."""
        return manifest_of(self._folder) if self._manifest_path.is_file() else None

    def _table_name(self) -> str:
        """Name of the table that writes change: the committed table, or the first table before the first commit."""
        manifest = self._manifest()
        return _FIRST if manifest is None else manifest["table"]

    # -------------------------------------------------------------------------------------------- reading

    def documents(self, *, committed: bool = False) -> dict[str, str]:
        if committed:
            found = self._manifest() is not None
            return self._read(lambda head, _: table.digests(head), of_any_settings=True) if found else {}
        with explained(self._folder):
            head = self._head()
            return {} if head is None else table.digests(head)

    def owned(
        self, document_ids: Sequence[str] | None = None, *, committed: bool = False
    ) -> dict[str, tuple[str, str]]:
        def pairs(found: Any, manifest: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
            documents, corpora, _ = table.contents(found, document_ids)
            adopted = manifest.get("adopted", "")
            return {id_: (digest, corpora[id_] or adopted) for id_, digest in documents.items()}

        manifest = self._manifest()
        if committed:
            return {} if manifest is None else self._read(pairs, of_any_settings=True)
        with explained(self._folder):
            head = self._head()
            return {} if head is None else pairs(head, manifest or {})

    def holds(self, filter: Filters) -> bool:
        return self._read(lambda committed, _: table_search.holds(committed, filter))

    def values(self, field: str, filter: Filters, limit: int) -> list[str]:
        return self._read(lambda committed, _: table_search.values(committed, field, filter, limit))

    def passages(self, document_ids: Sequence[str], level: Level = "passage") -> list[Passage]:
        return self._read(lambda committed, _: table.of_documents(committed, document_ids, level), of_any_settings=True)

    def between(self, ranges: Sequence[OrdinalRange]) -> list[Passage]:
        return self._read(lambda committed, _: table.between(committed, ranges))

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        def found(committed: Any, manifest: dict[str, Any]) -> list[list[Hit]]:
            for request in requests:
                if request.vector is not None:
                    require_dimension(self._name, manifest["dimension"], len(request.vector))
            return table_search.search(committed, frozenset(manifest["records"]), requests, choose)

        return self._read(found)

    def _read(self, read: Callable[[Any, dict[str, Any]], _T], *, of_any_settings: bool = False) -> _T:
        """Calls `read` with the committed table and its manifest; retries if a commit removed table files meanwhile.

        Raises IndexMismatchError if the index was built with other settings, unless `of_any_settings`.
        """
        while True:
            stamp = self._stamp()
            try:
                with explained(self._folder):
                    committed, manifest = self._reader(stamp)
                    if not of_any_settings:
                        self._require_same(manifest, writing=False)
                    return read(committed, manifest)
            except ConfigError:
                if stamp == self._stamp():
                    raise

    def _stamp(self) -> tuple[int, int]:
        """Inode and modification time of the manifest: they change with every commit."""
        try:
            stat = self._manifest_path.stat()
        except FileNotFoundError:
            raise ConfigError(
                f"there is no index {self._name} in {self._folder.parent}; make one: "
                f"python ingest.py index.name={self._name}"
            ) from None
        return stat.st_ino, stat.st_mtime_ns

    def _reader(self, stamp: tuple[int, int]) -> tuple[Any, dict[str, Any]]:
        """The committed table and its manifest, reopened after a new commit."""
        opened = self._opened
        if opened is None or opened[0] != stamp:
            manifest = manifest_of(self._folder)
            try:
                committed = self._connect().open_table(manifest["table"])
                committed.checkout(manifest["table_version"])
            except ValueError:  # LanceDB's error for a missing table
                raise damaged(self._folder, "its table is missing") from None
            opened = self._opened = stamp, committed, manifest
        return opened[1:]

    # -------------------------------------------------------------------------------------------- writing

    @contextmanager
    def writer(self, wait: float = 0) -> Iterator[None]:
        """Raises InputError if another process writes, IndexMismatchError if the index has other settings."""
        with self._hold(wait):
            if not self._replacing():
                self._require_same(self._manifest())
            yield

    def _require_same(self, manifest: Mapping[str, Any] | None, *, writing: bool = True) -> None:
        if manifest is not None:
            require_same(self._name, manifest["identity"], self._identity, writing=writing, path=self._path)

    @contextmanager
    def _hold(self, wait: float) -> Iterator[None]:
        """Holds the writer lock. Does not compare the index's settings with the configuration's."""
        with self._lock.hold(wait) as outermost:
            try:
                with explained(self._folder):
                    if outermost:
                        self._remove_superseded()
                    yield
            finally:
                if outermost:
                    self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        """Removes the folder if it contains nothing but lock files."""
        with suppress(OSError):  # Windows does not remove open files
            files = list(self._folder.iterdir())
            if {file.name for file in files} <= FILES:
                for file in files:
                    file.unlink()
                self._folder.rmdir()

    def write(self, records: Sequence[Passage], vectors: np.ndarray | None, corpus: str = "") -> None:
        require_different(records)
        dimension = None if vectors is None else int(vectors.shape[1])
        with self.writer():
            head = self._head()
            if head is None:
                schema = table.schema(
                    dimension, json.dumps(self._identity, sort_keys=True), known_fields(self._identity)
                )
                head = table.create(self._connect(), self._table_name(), schema)
            require_dimension(self._name, table.dimension(head), dimension)
            table.delete(head, [record.document_id for record in records])
            table.add(head, records, vectors, corpus)

    def adopt(self, corpus: str) -> None:
        self._adopting = corpus

    def delete(self, document_ids: Sequence[str]) -> None:
        with self.writer():
            head = self._head()
            if head is not None:
                table.delete(head, document_ids)

    def commit(self, *, optimize: bool = False) -> None:
        with self.writer():
            head, before = self._head(), self._manifest()
            if head is None:
                return
            contents = table.contents(head)
            records = contents.records
            same = (
                before
                and not self._adopting
                and (before["table_version"], before["records"]) == (head.version, records)
            )
            if before and same and (before["optimized"] or not optimize):
                return
            anew = optimize or before is None or head.count_rows() <= _SMALL
            tidy = anew or table.pieces(head) > _PIECES
            if tidy:
                head.optimize(cleanup_older_than=timedelta(days=36500))  # keeps the version that the manifest names
            lacking = records.keys() if anew or before is None else records.keys() - before["records"].keys()
            if lacking:
                table.make_indexes(head, lacking)
            name, version = self._table_name(), head.version
            self._publish(head, name, contents, anew)
            if tidy:
                head.optimize(
                    cleanup_older_than=_KEEP_OLD, delete_unverified=True
                )  # no other process writes: this one holds the writer lock
                if head.version != version:
                    self._publish(head, name, contents, anew)

    def _publish(self, head: Any, name: str, contents: table.Contents, optimized: bool) -> None:
        """Publishes the table's current version by writing the manifest."""
        documents, corpora, records = contents
        unnamed = "" in corpora.values()
        adopted = (self._adopting or (self._manifest() or {}).get("adopted", "")) if unnamed else ""
        manifest = {
            "format_version": FORMAT_VERSION,
            "name": self._name,
            "identity": self._identity,
            "dimension": table.dimension(head),
            "documents": len(documents),
            "records": dict(records),
            "corpora": dict(sorted(Counter(name or adopted for name in corpora.values()).items())),
            "adopted": adopted,
            "digest": digest(json.dumps(self._identity, sort_keys=True), *flatten(documents)),
            "table": name,
            "table_version": head.version,
            "optimized": optimized,
        }
        write_json(self._manifest_path, manifest)
        self._adopting = ""

    def discard(self) -> None:
        with self.writer():
            self._adopting = ""
            head, manifest = self._head(), self._manifest()
            if head is None or (manifest and manifest["table_version"] == head.version):
                return
            log.warning("index %s: dropped uncommitted writes", self._name)
            if manifest is None:
                self._connect().drop_table(self._table_name())
                return
            head.checkout(manifest["table_version"])
            head.restore()

    def _head(self) -> Any | None:
        """The table with all writes, committed or not; None if no table exists.

        Called by a writer, it drops an uncommitted table that was written with other settings.
        """
        if not self._folder.is_dir():
            return None
        database, name, manifest = self._connect(), self._table_name(), self._manifest()
        self._require_same(manifest, writing=self._lock.held)
        try:
            head = database.open_table(name)
        except ValueError:  # LanceDB's error for a missing table
            if manifest is not None:
                raise damaged(self._folder, "its table is missing") from None
            return None
        made = json.loads((head.schema.metadata or {}).get(b"identity", b"{}"))
        if self._lock.held and made != self._identity and manifest is None:
            database.drop_table(name)
            return None
        return head

    def _connect(self) -> Any:
        import lancedb

        if self._database is None:
            self._database = lancedb.connect(self._folder, read_consistency_interval=timedelta(0))
        return self._database

    @abstractmethod
    def _replacing(self) -> bool:
        """Whether a rebuild with the configuration's settings has begun; the index may then have other ones."""

    @abstractmethod
    def _remove_superseded(self) -> None:
        """Removes the tables that a rebuild or a purge replaced."""
