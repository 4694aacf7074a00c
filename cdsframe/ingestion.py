"""Brings an index up to date with a corpus: what is new or changed is cut, embedded and written, what is gone goes.

Readers see nothing of it before the end. Does not read files and does not know the index's engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cdsframe.errors import InputError
from cdsframe.types import Chunker, Corpus, Document, Embedder, Index, Metrics, Passage, Unreadable

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Report:
    """What an update did, counted in documents, and passages where it says so."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    kept: int = 0
    """Documents that the index keeps because their source is there but cannot be read."""
    passages: int = 0
    """Passages written."""
    cut: int = 0
    """Passages written that are longer than the embedder reads: the rest of them has no part in the vector."""
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def metrics(self) -> Metrics:
        """Flat, for `metrics.json`."""
        counts = ("added", "changed", "unchanged", "removed", "kept", "passages")
        return {
            **{f"ingest/{name}": float(getattr(self, name)) for name in counts},
            "ingest/cut_share": self.cut / self.passages if self.passages else 0.0,
            "ingest/unreadable": float(len(self.unreadable)),
        }

    @property
    def text(self) -> str:
        """A few lines for people."""
        counts = ("added", "changed", "unchanged", "removed")
        lines = ["documents: " + ", ".join(f"{getattr(self, name)} {name}" for name in counts)]
        lines.append(f"passages written: {self.passages}")
        if self.cut:
            lines.append(
                f"{self.cut} of them ({self.cut / self.passages:.1%}) are longer than the embedder reads, "
                "their ends have no part in the vectors"
            )
        if self.unreadable:
            lines.append(f"could not be read: {len(self.unreadable)}")
            lines += [f"  {item.source}: {item.reason}" for item in self.unreadable]
        if self.kept:
            lines.append(f"{self.kept} documents stay as they were when their files could last be read")
        return "\n".join(lines)


def update(
    batch_size: Annotated[int, Field(ge=1)],
    corpus: Corpus,
    chunking: Chunker,
    embedder: Embedder,
    index: Index,
) -> Report:
    """Makes the index hold exactly the corpus, embedding only what it does not hold already.

    Killed at any time, the index answers from its last complete state, and the next update goes on where this one
    stopped. Raises InputError, and removes nothing, where the corpus has no document that can be read.

    Args:
        batch_size: passages that are embedded and written at once; what a killed update loses at most.
    """
    from tqdm import tqdm

    report = Report()
    with index.writer():
        known = index.documents()
        seen: set[str] = set()
        waiting: list[Passage] = []
        with tqdm(desc="ingest", unit=" documents") as bar:
            for item in corpus.documents():
                bar.update()
                passages = _sort_out(item, known, chunking, report)
                if isinstance(item, Document):
                    seen.add(item.id)
                waiting += passages
                if len(waiting) >= batch_size:
                    _write(waiting, embedder, index, report)
                    waiting = []
                    bar.set_postfix(passages=report.passages)
            if waiting:
                _write(waiting, embedder, index, report)
        if not seen:
            reasons = f" ({report.unreadable[0].source}: {report.unreadable[0].reason})" if report.unreadable else ""
            raise InputError(f"the corpus has no document that can be read{reasons}; the index is left as it was")
        _remove(sorted(known.keys() - seen), index, report)
        index.commit(optimize=True)
    return report


def _sort_out(
    item: Document | Unreadable, known: Mapping[str, str], chunking: Chunker, report: Report
) -> list[Passage]:
    """Counts one item of the corpus; gives the passages that must be written for it."""
    if isinstance(item, Unreadable):
        report.unreadable.append(item)
        return []
    if known.get(item.id) == item.digest:
        report.unchanged += 1
        return []
    passages = chunking.split(item)
    if not passages:
        source = item.metadata.get("source", item.id)
        report.unreadable.append(Unreadable(source, "has no text in its sections"))
    elif item.id in known:
        report.changed += 1
    else:
        report.added += 1
    return passages


def _write(records: Sequence[Passage], embedder: Embedder, index: Index, report: Report) -> None:
    index.write(records, vectors_of(records, embedder) if embedder.dimension is not None else None)
    passages = [record for record in records if record.level == "passage"]
    report.passages += len(passages)
    if embedder.max_tokens is not None:
        report.cut += sum(embedder.count(passage.search_text) > embedder.max_tokens for passage in passages)


def vectors_of(records: Sequence[Passage], embedder: Embedder) -> np.ndarray:
    """Vectors `[n, dimension]`: of passages and titles by the embedder, of sections and documents from their passages.

    The vector of a text that is longer than an embedder reads is the mean of its passages' vectors, normalised.
    """
    import numpy as np

    read = [number for number, record in enumerate(records) if record.level in ("passage", "title")]
    encoded = embedder.encode_passages([records[number].search_text for number in read])
    vectors = np.zeros((len(records), encoded.shape[1]), dtype=np.float32)
    vectors[read] = encoded
    members: dict[tuple[str, str, str], list[int]] = {}
    for number, record in enumerate(records):
        if record.level == "passage":
            members.setdefault(("section", record.document_id, record.section_id), []).append(number)
            members.setdefault(("document", record.document_id, record.document_id), []).append(number)
    for number, record in enumerate(records):
        if record.level in ("section", "document"):
            mean = vectors[members[record.level, record.document_id, record.section_id]].mean(axis=0)
            vectors[number] = mean / np.linalg.norm(mean)
    return vectors


def _remove(document_ids: Sequence[str], index: Index, report: Report) -> None:
    """Deletes documents that the corpus no longer has, except those whose source is there and cannot be read."""
    if not document_ids:
        return
    unread = {item.source for item in report.unreadable}
    kept: set[str] = set()
    if unread and index.digest is not None:
        for passage in index.passages(document_ids):
            source = passage.metadata.get("source", "")
            if source in unread or any(source.startswith(f"{folder}/") for folder in unread):
                kept.add(passage.document_id)
    report.kept = len(kept)
    gone = [document_id for document_id in document_ids if document_id not in kept]
    report.removed = len(gone)
    if gone:
        index.delete(gone)
