"""Compares an index with its manifest and its corpus, record by record, and fixes differences on request.

Does not recompute vectors: a wrong vector is not detected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import length_hint
from typing import TypeVar

from cdsframe.contracts import Chunker, Corpus, Embedder, Index
from cdsframe.ingestion.changes import Changes, prepare
from cdsframe.ingestion.filling import items_of, kept_for, require_documents
from cdsframe.ingestion.repeated import Repeated
from cdsframe.ingestion.report import omission_lines, omission_metrics, omissions_of
from cdsframe.ingestion.share import Share, adopting, name_of, require_known_corpus
from cdsframe.text.printable import plain
from cdsframe.types import Document, Level, Metrics, Omission, Passage, Unreadable

_AT_ONCE = 200
"""Documents compared at once."""

_SHOWN = 20
"""Maximum number of document ids per kind in the text."""

_KINDS = {
    "missing": "documents in the corpus but not in the index",
    "outdated": "documents changed in the corpus since they were ingested",
    "superfluous": "documents in the index but not in the corpus",
    "damaged": "documents whose records in the index are not those that splitting their text gives",
}

_T = TypeVar("_T")


@dataclass
class Verified:
    """Differences between index and corpus: a list of document ids for each kind."""

    documents: int = 0
    """Number of compared documents of the corpus."""
    missing: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    superfluous: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    """Sentences about levels whose record count differs from the manifest."""
    repeated: list[str] = field(default_factory=list)
    """Sentences about ids that several records of a level share."""
    unreadable: list[Unreadable] = field(default_factory=list)
    omitted: list[tuple[str, Omission]] = field(default_factory=list)
    """(source, omission) of all documents of the corpus."""
    remaining: float | None = None
    """Number of differences after a repair; None if nothing was repaired."""

    @property
    def differing(self) -> list[str]:
        return [document_id for kind in _KINDS for document_id in getattr(self, kind)]

    @property
    def score(self) -> float:
        return float(len(self.differing) + len(self.miscounted) + len(self.repeated))

    @property
    def metrics(self) -> Metrics:
        kinds = (*_KINDS, "miscounted", "repeated", "unreadable")
        return {
            "ingest/verified": float(self.documents),
            **{f"ingest/{kind}": float(len(getattr(self, kind))) for kind in kinds},
            **omission_metrics(self.omitted),
        }

    @property
    def failure(self) -> str | None:
        if not self.score:
            return None if not self.unreadable else f"{len(self.unreadable)} unreadable sources were not compared"
        if self.repeated:
            return (
                "records share ids as listed above; make the ids unique, in the chunker or the corpus, and ingest again"
            )
        if self.remaining is None:
            return "the index differs as listed above; fix it with ingestion.repair=true"
        still = "the index still differs after the repair; rebuild it by ingestion=rebuild"
        return still if self.remaining else None

    @property
    def text(self) -> str:
        lines = [f"documents compared: {self.documents}"]
        for kind, meaning in _KINDS.items():
            if ids := getattr(self, kind):
                more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
                lines.append(f"{len(ids)} {meaning}: {', '.join(plain(id_, keep='') for id_ in ids[:_SHOWN])}{more}")
        lines += [*self.miscounted, *self.repeated[:_SHOWN]]
        lines += [f"and {len(self.repeated) - _SHOWN} more such ids"] if len(self.repeated) > _SHOWN else []
        lines += [plain(f"could not be read: {item.source}: {item.reason}", keep="") for item in self.unreadable]
        lines += omission_lines(self.omitted)
        verdict = "nothing differs" if not self.score else "fixed" if self.remaining == 0 else "not fixed"
        return "\n".join([*lines, verdict])


def verify(repair: bool, corpus: Corpus, chunking: Chunker, embedder: Embedder, index: Index) -> Verified:
    """Compares the committed index's counts with its manifest, and its records with the corpus's documents.

    Documents of other corpora are only counted. Raises InputError, and removes nothing, if no document can be read;
    ConfigError if the index has corpora but not this one.

    Args:
        repair: whether to rewrite missing, outdated and damaged documents, remove superfluous ones and compare again.
    """
    require_known_corpus(index, corpus)

    def fix(changes: Changes) -> None:
        if changes:
            prepare(changes, chunking, embedder, name_of(corpus)).write(index, by="corpus")

    if not repair:
        return _look(corpus, chunking, index)
    with index.writer():
        index.discard()
        found = _look(corpus, chunking, index, fix)
        if found.score:
            fix(dict.fromkeys(found.superfluous))
            if adopting(index, corpus):
                index.adopt(name_of(corpus))
            index.commit(optimize=True)
            found.remaining = _look(corpus, chunking, index).score
    return found


def _look(corpus: Corpus, chunking: Chunker, index: Index, fix: Callable[[Changes], None] | None = None) -> Verified:
    """Compares the committed index with the corpus; calls `fix` with the documents to rewrite."""
    from tqdm import tqdm

    found = Verified()
    known, seen, counted = index.owned(committed=True), set[str](), Counter[Level]()
    share = _share(index, corpus, known)
    repeated = Repeated()
    with tqdm(desc="verify", unit=" documents", total=length_hint(corpus) or None) as bar:
        for some in _batches(items_of(corpus), _AT_ONCE):
            documents = [item for item in some if isinstance(item, Document)]
            found.unreadable += [item for item in some if isinstance(item, Unreadable)]
            found.omitted += [pair for document in documents for pair in omissions_of(document)]
            wrong = _compare(
                [document for document in documents if share.meet(document)], chunking, index, found, counted, repeated
            )
            seen.update(document.id for document in documents)
            if fix is not None:
                fix(wrong)
            bar.update(len(some))
    require_documents(seen, found.unreadable)
    share.require()
    surplus = sorted(known.keys() - seen)
    own = share.gone(seen)
    kept = kept_for(own, found.unreadable, index)
    found.superfluous = [document_id for document_id in own if document_id not in kept]
    for some_ids in _batches(surplus, _AT_ONCE):
        for record in _records(some_ids, index):
            counted[record.level] += 1
            repeated.add(record)
    found.miscounted = [
        f"the manifest counts {index.levels.get(level, 0)} records of level {level}, the index has {counted[level]}"
        for level in sorted({*counted, *index.levels})
        if counted[level] != index.levels.get(level, 0)
    ]
    found.repeated = repeated.among(r for ids in _batches(sorted(known), _AT_ONCE) for r in _records(ids, index))
    return found


def _share(index: Index, corpus: Corpus, known: Mapping[str, tuple[str, str]]) -> Share:
    """The documents to compare with the corpus: those that the index assigns to it, or an ingest would assign to it.

    The latter have no corpus in the index: an earlier version of cdsframe wrote them.
    """
    adopts = adopting(index, corpus)
    unnamed = (id_ for id_, (_, owner) in known.items() if adopts and not owner)
    return Share(name_of(corpus), known, everything=False, unnamed=unnamed)


def _compare(
    documents: Sequence[Document],
    chunking: Chunker,
    index: Index,
    found: Verified,
    counted: Counter[Level],
    repeated: Repeated,
) -> Changes:
    """Classifies documents by their records' differences; returns those to rewrite."""
    kept: dict[str, list[Passage]] = {document.id: [] for document in documents}
    for record in _records(list(kept), index):
        kept[record.document_id].append(record)
        counted[record.level] += 1
        repeated.add(record)
    wrong = {}
    for document in documents:
        expected, records = chunking.split(document), kept[document.id]
        if expected and not records:
            found.missing.append(document.id)
        elif any(record.digest != document.digest for record in records):
            found.outdated.append(document.id)
        elif sorted(expected, key=_order) != sorted(records, key=_order):
            found.damaged.append(document.id)
        else:
            continue
        wrong[document.id] = document
    found.documents += len(documents)
    return wrong


def _records(document_ids: Sequence[str], index: Index) -> list[Passage]:
    return [record for level in index.levels for record in index.passages(document_ids, level)]


def _order(record: Passage) -> tuple[str, int, str]:
    return record.level, record.ordinal, record.id


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    waiting: list[_T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
