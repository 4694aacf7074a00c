"""Follows a folder of files: polls for changes, reads changed files, and commits once per round.

A file is read again if its size, times or inode changed; a document is written if its digest changed. Does not follow
symbolic links and does not embed unchanged documents again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Protocol, runtime_checkable

from pydantic import Field

from cdsframe.contracts import Chunker, Corpus, Embedder, Index
from cdsframe.contracts.declarations import checked_by
from cdsframe.errors import CdsframeError, ConfigError
from cdsframe.ingestion.changes import prepare
from cdsframe.ingestion.filling import items_of
from cdsframe.ingestion.report import Report, omission_lines, omissions_of
from cdsframe.ingestion.share import flag_problems, guessed, name_of, require_known_corpus
from cdsframe.ingestion.update import update
from cdsframe.text.printable import plain
from cdsframe.types import Document, Unreadable

log = logging.getLogger(__name__)

_WAIT = 60.0
"""Seconds that a round waits for another writer; then the next round tries again."""


@runtime_checkable
class Watched(Protocol):
    """A corpus that can be followed."""

    def documents(self) -> Iterator[Document | Unreadable]: ...

    def stamps(self) -> tuple[Mapping[str, Hashable], list[Unreadable]]:
        """Returns (source -> a value that changes with the source's file, sources that cannot be examined)."""

    def read(self, sources: Iterable[str]) -> Iterator[tuple[str, Document | Unreadable]]:
        """Reads the given sources. Yields `(source, its Document or Unreadable)`."""


@checked_by(flag_problems)
def watch(
    window: Annotated[int, Field(ge=1)],
    interval: Annotated[float, Field(gt=0)],
    add: bool,
    replace: bool,
    corpus: Corpus,
    chunking: Chunker,
    embedder: Embedder,
    index: Index,
    metadata_fields: Sequence[str],
) -> Report:
    """Updates the index, then follows the corpus until Ctrl-C. A failed round is retried in the next one.

    Args:
        window: see `cdsframe.ingestion.update`.
        interval: seconds between polls.
        add, replace: see `cdsframe.ingestion.update`.
        metadata_fields: the deployment's own metadata fields; those that no document has are logged.
    """
    watcher = Watcher(window, corpus, chunking, embedder, index)
    report = watcher.first(add=add, replace=replace)
    for line in report.text.splitlines():
        log.info("%s", line)
    for sentence in report.empty_fields(metadata_fields):
        log.warning("%s", sentence)
    log.info("following the corpus; press Ctrl-C to stop")
    try:
        while True:
            time.sleep(interval)
            watcher.round()
    except KeyboardInterrupt:
        log.info("no longer following the corpus")
    return report


class Watcher:
    """The state of the sources between two rounds."""

    def __init__(self, window: int, corpus: Corpus, chunking: Chunker, embedder: Embedder, index: Index) -> None:
        if not isinstance(corpus, Watched):
            raise ConfigError("ingestion=watch follows a folder of files; use corpus=folder")
        self._window, self._corpus, self._chunking, self._embedder = window, corpus, chunking, embedder
        self._index = index
        self._stamps: dict[str, Hashable] = {}
        self._ids: dict[str, str] = {}
        self._reported: dict[str, str] = {}

    def first(self, *, add: bool = False, replace: bool = False) -> Report:
        """Runs an update and records the document id of each source."""
        self._stamps = dict(self._corpus.stamps()[0])
        corpus = _Noting(self._corpus, self._note)
        report = update(self._window, 0, 1, add, replace, corpus, self._chunking, self._embedder, self._index)
        self._reported = {item.source: item.reason for item in report.unreadable}
        for source in self._reported:  # the first round reads these again: another file may have had their id
            self._stamps.pop(source, None)
        return report

    def round(self) -> int:
        """Reads the changed files and commits once; returns how many documents were written or removed."""
        stamps, unlisted = self._corpus.stamps()
        self._report(unlisted)
        lost = tuple(item.source for item in unlisted)
        gone = [s for s in self._stamps if s not in stamps and not _below(s, lost)]
        if gone and len(gone) == len(self._stamps) and not stamps:
            log.warning(
                "the corpus has no file any more; the index is unchanged: check corpus.path, or purge the documents"
            )
            return 0
        read = dict(self._corpus.read(source for source, stamp in stamps.items() if self._stamps.get(source) != stamp))
        self._report([item for item in read.values() if isinstance(item, Unreadable)])
        documents = {source: item for source, item in read.items() if isinstance(item, Document)}
        changes, refused = self._changes(gone, documents)
        try:
            count = self._apply(changes, refused)
        except CdsframeError as error:
            log.warning("this round failed, the next one retries its changes: %s", error)
            return 0
        for source in gone:
            del self._stamps[source]
            self._ids.pop(source, None)
        self._stamps |= {source: stamps[source] for source in read if source not in refused}
        for source, document in documents.items():
            if source not in refused:
                self._note(document)
                for line in omission_lines(omissions_of(document)):
                    log.warning("%s", line)
        return count

    def _changes(
        self, gone: Iterable[str], documents: Mapping[str, Document]
    ) -> tuple[dict[str, Document | None], set[str]]:
        """Returns the changes to write, and the sources left out because another file has their document's id.

        The next round reads these sources again.
        """
        left, refused = set(gone), set[str]()
        changes: dict[str, Document | None] = {self._ids[source]: None for source in left if source in self._ids}
        owners = {id_: source for source, id_ in self._ids.items() if source not in left}
        for source, document in documents.items():
            if owners.setdefault(document.id, source) != source:
                refused.add(source)
                self._report([Unreadable(source, f"has the id of another file's document, {document.id}")])
                continue
            before = self._ids.get(source)
            if before not in (None, document.id):
                changes.setdefault(str(before), None)
            changes[document.id] = document
        return changes, refused

    def _apply(self, changes: Mapping[str, Document | None], refused: set[str]) -> int:
        """Writes the changes that the index lacks; adds sources with ids of other corpora to `refused`."""
        if not changes:
            return 0
        new = self._differing(changes, refused)
        while new:
            prepared = prepare(new, self._chunking, self._embedder, name_of(self._corpus))
            with self._index.writer(_WAIT):
                # Another writer may have committed a document of the same id during embedding.
                now = self._differing(changes, refused)
                if now == new:
                    self._index.discard()
                    prepared.write(self._index, by="corpus")
                    self._index.commit()
                    log.info("%d documents written, %d removed", *_counts(new))
                    return len(new)
                new = now
        return 0

    def _differing(self, changes: Mapping[str, Document | None], refused: set[str]) -> dict[str, Document | None]:
        """The changes that the committed index lacks, without documents of other corpora."""
        require_known_corpus(self._index, self._corpus)
        known, own = self._index.owned(list(changes), committed=True), name_of(self._corpus)
        new = {}
        for id_, document in changes.items():
            digest, owner = known.get(id_, (None, own))
            if owner != own:  # also true for documents without a corpus: an update adopts them, a round does not
                self._refuse(id_, document, owner, refused)
            elif digest != (document.digest if document else None):
                new[id_] = document
        return new

    def _refuse(self, id_: str, document: Document | None, owner: str, refused: set[str]) -> None:
        """Reports a document whose id belongs to another corpus; the next round reads its source again."""
        if document is not None:
            source = document.metadata.get("source", id_)
            refused.add(source)
            other = f"the corpus {owner}" if owner else "a corpus without a name"
            self._report([Unreadable(source, f"has the id of a document of {other}, {id_}")])

    def _note(self, item: Document | Unreadable) -> None:
        if isinstance(item, Document):
            self._ids[item.metadata.get("source", item.id)] = item.id

    def _report(self, unreadable: Iterable[Unreadable]) -> None:
        """Logs each reason once."""
        for item in unreadable:
            if self._reported.get(item.source) != item.reason:
                text = plain(f"{item.source} {item.reason}", keep="")
                log.warning("%s; the index keeps this source as it was last read", text)
                self._reported[item.source] = item.reason


class _Noting:
    """Wraps a corpus and calls `note` for each item."""

    def __init__(self, corpus: Corpus, note: Callable[[Document | Unreadable], None]) -> None:
        self._corpus, self._note = corpus, note
        self.name, self.name_guessed = name_of(corpus), guessed(corpus)

    def documents(self) -> Iterator[Document | Unreadable]:
        for item in items_of(self._corpus):
            self._note(item)
            yield item


def _below(source: str, folders: tuple[str, ...]) -> bool:
    """Whether a source is one of these folders or inside one; "." is the whole corpus."""
    return any(folder in (".", source) or source.startswith(f"{folder}/") for folder in folders)


def _counts(changes: Mapping[str, Document | None]) -> tuple[int, int]:
    written = sum(document is not None for document in changes.values())
    return written, len(changes) - written
