"""Adds and removes single documents while the index is searched. All processes see a change when its call returns.

Calls that arrive during a commit share the next commit (group commit). Does not answer questions.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType

from cdsframe.contracts import Chunker, Embedder, Index
from cdsframe.errors import InputError, named
from cdsframe.ingestion.changes import Changes, prepare, warn_of_rebuild
from cdsframe.ingestion.filling import unfit
from cdsframe.types import Document

_Waiting = tuple[Changes, "Future[None]"]
"""A caller's changes, and the future that its commit resolves."""


class Live:
    """Writes to the index for a server's threads; one thread commits for all of them.

    Uncommitted writes of a writer that died are dropped first; the index logs this. During a rebuild, changes are also
    recorded, and the rebuilt index receives them.

    Args:
        wait: seconds that a change waits for another writer (an update, a purge); then InputError is raised.
        corpus: the corpus of the documents; None: a known document keeps its corpus, and a new one belongs to the
            index's only corpus.
    """

    def __init__(
        self, wait: float, chunking: Chunker, embedder: Embedder, index: Index, corpus: str | None = None
    ) -> None:
        self._corpus = corpus
        self._wait, self._chunking, self._embedder, self._index = wait, chunking, embedder, index
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = self._warned = False
        self._thread: threading.Thread | None = None

    def put(self, documents: Sequence[Document]) -> None:
        """Adds documents, or replaces those with the same ids; returns when searches see them.

        Raises InputError if a document has no text in its sections or too long an id, if its id belongs to another
        corpus, if its corpus is ambiguous, if another writer does not finish within `wait`, and after `close`.
        """
        for document in documents:
            if problem := unfit(self._chunking.split(document)):
                raise InputError(f"the document {named(document.id)} {problem}")
        self._submit({document.id: document for document in documents})

    def remove(self, document_ids: Sequence[str]) -> None:
        """Removes documents; returns when no search sees them. Unknown ids are ignored."""
        self._submit(dict.fromkeys(document_ids))

    def close(self) -> None:
        """Writes the waiting changes and stops the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, changes: Changes) -> None:
        done: Future[None] = Future()
        self._owners(changes)
        with self._changed:
            if self._closed:
                raise InputError("the server is ending and takes no more changes; send the change again when it runs")
            self._waiting.append((changes, done))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()
            self._changed.notify()
        done.result()

    def _owners(self, changes: Changes) -> dict[str, str]:
        """Returns document id -> corpus. Raises InputError if the corpus is ambiguous or not the one of this Live."""
        corpora = list(self._index.corpora)
        if len(corpora) <= 1 and self._corpus in (None, *corpora):
            return dict.fromkeys(changes, "".join(corpora))
        known = {id_: owner for id_, (_, owner) in self._index.owned(list(changes), committed=True).items()}
        for id_, document in changes.items():
            if self._corpus is not None and known.get(id_, "") not in ("", self._corpus):
                raise InputError(
                    f"the document {named(id_)} belongs to the corpus {named(known[id_])}, but this Live writes "
                    f"documents of {named(self._corpus)}; use another id, or Live(corpus={named(known[id_])})"
                )
            if self._corpus is None and document is not None and id_ not in known:
                names = ", ".join(map(named, corpora))
                raise InputError(
                    f"the document {named(id_)} is new, and the index has several corpora ({names}); name its corpus "
                    "by Live(corpus=…)"
                )
        if self._corpus == "" and "" not in corpora:
            raise InputError("all corpora of the index have names; name the documents' corpus by Live(corpus=…)")
        return {id_: known.get(id_, self._corpus or "") for id_ in changes}

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                group, self._waiting = self._waiting, []
            if not group:
                return
            try:
                self._commit(group)
            except BaseException as error:  # noqa: BLE001 (every caller of the group gets it)
                for _, done in group:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in group:
                    if not done.done():
                        done.set_result(None)

    def _commit(self, group: Sequence[_Waiting]) -> None:
        """Writes a group's changes. Only callers whose documents belong to another corpus get an error."""
        if not self._warned:
            warn_of_rebuild(self._index)
            self._warned = True
        by_corpus = self._by_corpus(group)
        while by_corpus:
            prepared = [prepare(some, self._chunking, self._embedder, corpus) for corpus, some in by_corpus.items()]
            with self._index.writer(self._wait):
                # Another writer may have committed a document with the same id during the embedding.
                now = self._by_corpus(group)
                if now == by_corpus:
                    self._index.discard()
                    for some_prepared in prepared:
                        some_prepared.write(self._index, by="live")
                    self._index.commit()
                    return
                by_corpus = now

    def _by_corpus(self, group: Sequence[_Waiting]) -> dict[str, dict[str, Document | None]]:
        """Returns corpus -> changes of its documents, as the committed index assigns them.

        If `_owners` raises InputError for a caller, leaves out the caller's changes and sets its future's exception.
        """
        latest: dict[str, tuple[str, Document | None]] = {}
        for changes, done in group:
            if done.done():
                continue
            try:
                owners = self._owners(changes)
            except InputError as error:
                done.set_exception(error)
                continue
            latest |= {id_: (owners[id_], document) for id_, document in changes.items()}
        by_corpus: dict[str, dict[str, Document | None]] = {}
        for id_, (owner, document) in latest.items():
            by_corpus.setdefault(owner, {})[id_] = document
        return by_corpus
