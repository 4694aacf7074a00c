"""Fills an index from a corpus: reads, compares, splits, embeds (while the next window is read) and writes.

Does not commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import length_hint
from threading import Event
from typing import TYPE_CHECKING

from cdsframe.artifacts.identifiers import ids_problem
from cdsframe.contracts import Chunker, Corpus, Embedder, Index
from cdsframe.errors import InputError
from cdsframe.ingestion.changes import in_shard, note
from cdsframe.ingestion.report import Report
from cdsframe.ingestion.share import Share, name_of
from cdsframe.ingestion.vectors import ahead, vectors_of
from cdsframe.types import Document, Passage, Unreadable

if TYPE_CHECKING:
    import numpy as np

_Cut = tuple[Document, list[Passage]]


def fill(
    index: Index,
    share: Share,
    window: int,
    corpus: Corpus,
    chunking: Chunker,
    embedder: Embedder,
    shard: int = 0,
    num_shards: int = 1,
    *,
    noting: bool = False,
) -> Report:
    """Makes the index contain exactly this corpus's (or shard's) documents; does not commit. Call within `writer()`.

    Reads and writes in the caller's thread, embeds in another. Memory holds at most two windows plus the longest
    document. Raises InputError, and removes nothing, if no document can be read or if `share.require` raises it.

    Args:
        share: decides which documents of the index belong to the corpus.
        noting: whether to record the writes for a rebuild in progress.
    """
    from tqdm import tqdm

    def encode(cut: Sequence[_Cut], stop: Event) -> np.ndarray | None:
        return vectors_of(_records(cut), embedder, stop)

    report, seen = Report(corpus=share.corpus), set[str]()
    with tqdm(desc="ingest", unit=" documents", total=length_hint(corpus) or None) as bar:
        counted = _counted(items_of(corpus), bar, seen, share, report)
        items = (item for item in counted if _belongs(item, shard, num_shards))
        for cut, vectors in ahead(_windows(_sort_out(items, share, seen, chunking, report), window), encode):
            if noting and index.rebuilding:
                note(index, {document.id: document for document, _ in cut}, "corpus", share.corpus)
            records = _records(cut)
            index.write(records, vectors, share.corpus)
            _count(records, embedder, report)
            bar.set_postfix(passages=report.passages)
    require_documents(seen, report.unreadable)
    try:
        share.require()
    except InputError:
        index.discard()  # otherwise the next ingest would take the documents written here for its own and remove them
        raise
    _remove([id_ for id_ in share.gone(seen) if in_shard(id_, shard, num_shards)], index, share, report, noting=noting)
    return report


def items_of(corpus: Corpus) -> Iterator[Document | Unreadable]:
    """Yields the corpus's items. Raises InputError for an item of another type."""
    for item in corpus.documents():
        if not isinstance(item, Document | Unreadable):
            raise InputError(
                f"the corpus {name_of(corpus)} yields {type(item).__qualname__} objects; fix its documents(), which "
                "must yield Document or Unreadable objects"
            )
        yield item


def require_documents(seen: Collection[str], unreadable: Sequence[Unreadable]) -> None:
    """Raises InputError if the corpus has no readable document: its folder may be empty or not mounted."""
    if not seen:
        reasons = f" ({unreadable[0].source}: {unreadable[0].reason})" if unreadable else ""
        raise InputError(
            f"the corpus has no readable document{reasons}; the index is unchanged: check the corpus's path and files"
        )


def require_kept(index: Index, new: Index, corpus: Corpus, report: Report, shard: int, num_shards: int) -> None:
    """Raises InputError if a rebuilt index would lose documents whose sources exist but cannot be read."""
    if not report.unreadable:
        return
    own = {id_ for id_, (_, owner) in index.owned(committed=True).items() if owner in ("", name_of(corpus))}
    known = own - new.documents().keys()
    lost = sorted(kept_for([id_ for id_ in known if in_shard(id_, shard, num_shards)], report.unreadable, index))
    if lost:
        reasons = "; ".join(f"{item.source}: {item.reason}" for item in report.unreadable[:3])
        raise InputError(
            f"{len(lost)} documents of the index ({', '.join(lost[:3])}…) have sources that cannot be read now "
            f"({reasons}…); the index is unchanged: fix the sources, or remove them from the corpus, and start the "
            "rebuild again; it keeps the documents embedded so far"
        )


def _belongs(item: Document | Unreadable, shard: int, num_shards: int) -> bool:
    """Whether an item belongs to the shard. Unreadable sources belong to every shard: their documents are unknown."""
    return isinstance(item, Unreadable) or in_shard(item.id, shard, num_shards)


def _counted(
    items: Iterable[Document | Unreadable], bar: object, seen: set[str], share: Share, report: Report
) -> Iterator[Document | Unreadable]:
    """Yields the corpus's items, shows progress and notes the documents' metadata fields in `report`.

    Adds the first document to `seen` even if it belongs to another shard: a shard without documents is not an empty
    corpus. After a document whose id belongs to another corpus, yields no more documents but reads to the end, so that
    all such ids are reported and nothing more is embedded.
    """
    for item in items:
        if not seen and isinstance(item, Document):
            seen.add(item.id)
        if isinstance(item, Document):
            report.fields.update(name for name, value in item.metadata.items() if value)
        bar.update()  # type: ignore[attr-defined]
        if isinstance(item, Unreadable) or (share.meet(item) and not share.refused):
            yield item


def _sort_out(
    items: Iterable[Document | Unreadable], share: Share, seen: set[str], chunking: Chunker, report: Report
) -> Iterator[_Cut]:
    """Counts the items in `report`; yields each new or changed document with its records."""
    for item in items:
        if isinstance(item, Unreadable):
            report.unreadable.append(item)
            continue
        seen.add(item.id)
        report.omit(item)
        if share.same(item):
            report.unchanged += 1
            continue
        records = chunking.split(item)
        if problem := unfit(records):
            source = item.metadata.get("source", item.id[:80])
            report.unreadable.append(Unreadable(source, problem))
            continue
        if share.has(item.id):
            report.changed += 1
        else:
            report.added += 1
        yield item, records


def unfit(records: Sequence[Passage]) -> str | None:
    """Why a document with these records cannot be indexed; None if it can."""
    if not records:
        return "has no text in its sections"
    problems = (ids_problem(record.id, record.section_id, record.document_id) for record in records)
    return next(filter(None, problems), None)


def _windows(cuts: Iterable[_Cut], window: int) -> Iterator[list[_Cut]]:
    """Yields lists of whole documents; each list except the last has at least `window` records."""
    waiting: list[_Cut] = []
    count = 0
    for cut in cuts:
        waiting.append(cut)
        count += len(cut[1])
        if count >= window:
            yield waiting
            waiting, count = [], 0
    if waiting:
        yield waiting


def _records(cuts: Sequence[_Cut]) -> list[Passage]:
    return [record for _, records in cuts for record in records]


def _count(records: Sequence[Passage], embedder: Embedder, report: Report) -> None:
    passages = [record for record in records if record.level == "passage"]
    report.passages += len(passages)
    if embedder.max_tokens is not None:
        report.cut += sum(embedder.count(passage.search_text) > embedder.max_tokens for passage in passages)


def _remove(document_ids: Sequence[str], index: Index, share: Share, report: Report, *, noting: bool) -> None:
    """Deletes documents that the corpus no longer has, except those whose source exists but cannot be read."""
    kept = kept_for([id_ for id_ in document_ids if share.owns(id_)], report.unreadable, index)
    report.kept = len(kept)
    gone = [document_id for document_id in document_ids if document_id not in kept]
    report.removed = len(gone)
    if gone:
        if noting and index.rebuilding:
            note(index, dict.fromkeys(gone), "corpus", share.corpus)
        index.delete(gone)


def kept_for(document_ids: Sequence[str], unreadable: Iterable[Unreadable], index: Index) -> set[str]:
    """Returns the ids of the documents whose source, or a folder that contains it, exists but cannot be read."""
    unread = {item.source for item in unreadable}
    if not (document_ids and unread) or index.digest is None:
        return set()
    kept = set()
    for passage in index.passages(document_ids):
        source = passage.metadata.get("source", "")
        if source in unread or any(source.startswith(f"{folder}/") for folder in unread):
            kept.add(passage.document_id)
    return kept
