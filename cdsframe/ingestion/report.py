"""The result of an ingestion: text for people, `metrics.json`, and the reason for a non-zero exit code.

Does not ingest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cdsframe.text.printable import plain
from cdsframe.types import Document, Metrics, Omission, Unreadable

_NAMED = 5
"""Maximum number of sources named in a line of the report."""


@dataclass
class Report:
    """Counts of documents, and of passages where stated."""

    corpus: str = ""
    """Name of the ingested corpus."""
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    kept: int = 0
    """Documents kept because their source exists but cannot be read."""
    passages: int = 0
    """Passages written."""
    cut: int = 0
    """Passages written that exceed the embedder's `max_tokens`; their ends do not influence the vector."""
    unreadable: list[Unreadable] = field(default_factory=list)
    omitted: list[tuple[str, Omission]] = field(default_factory=list)
    """(source, omission) of all documents of the corpus, unchanged ones included."""
    fields: set[str] = field(default_factory=set)
    """Metadata fields that any document of the corpus has."""

    def omit(self, document: Document) -> None:
        """Adds a document's omissions."""
        self.omitted += omissions_of(document)

    def empty_fields(self, metadata_fields: Iterable[str]) -> list[str]:
        """Returns a sentence for each of the deployment's own metadata fields that no document of the corpus has."""
        return [
            f"no document of the corpus has a value for metadata field {name}; check its name, and whether this corpus "
            "reads fields of your own (docs/ingest.md)"
            for name in metadata_fields
            if name not in self.fields
        ]

    @property
    def score(self) -> float:
        """Objective of a sweep: share of the written passages that the embedder truncates."""
        return self.cut / self.passages if self.passages else 0.0

    @property
    def metrics(self) -> Metrics:
        """Flat metrics for `metrics.json`."""
        counts = ("added", "changed", "unchanged", "removed", "kept", "passages")
        return {
            **{f"ingest/{name}": float(getattr(self, name)) for name in counts},
            "ingest/cut_share": self.score,
            "ingest/unreadable": float(len(self.unreadable)),
            **omission_metrics(self.omitted),
        }

    @property
    def failure(self) -> str | None:
        """Says how many sources could not be read; None if all could. With a message, the command exits non-zero."""
        if not self.unreadable:
            return None
        return f"{len(self.unreadable)} sources could not be read (listed above); all others were ingested"

    @property
    def text(self) -> str:
        """The report as text."""
        counts = ("added", "changed", "unchanged", "removed")
        lines = ["documents: " + ", ".join(f"{getattr(self, name)} {name}" for name in counts)]
        lines.append(f"passages written: {self.passages}")
        lines += [plain(f"corpus: {self.corpus}", keep="")] if self.corpus else []
        if self.cut:
            lines.append(
                f"{self.cut} of the passages written ({self.score:.1%}) exceed the embedder's max_tokens; their ends "
                "do not influence the vectors"
            )
        if self.unreadable:
            lines.append(f"could not be read: {len(self.unreadable)}")
            lines += [plain(f"  {item.source}: {item.reason}", keep="") for item in self.unreadable]
        lines += omission_lines(self.omitted)
        if self.kept:
            lines.append(f"{self.kept} documents of unreadable sources stay in the index as they were last read")
        return "\n".join(lines)


def omissions_of(document: Document) -> list[tuple[str, Omission]]:
    """(source, omission) for each omission of a document."""
    source = document.metadata.get("source", document.id)
    return [(source, item) for item in document.omitted]


def omission_metrics(omitted: Iterable[tuple[str, Omission]]) -> Metrics:
    """Number of omitted parts, and of those that lose text."""
    counts = [(item.count, item.text) for _, item in omitted]
    return {
        "ingest/omitted": float(sum(count for count, _ in counts)),
        "ingest/text_lost": float(sum(count for count, text in counts if text)),
    }


def omission_lines(omitted: Iterable[tuple[str, Omission]]) -> list[str]:
    """One line per reason: number of omitted parts and their sources."""
    by_reason: dict[tuple[bool, str], list[tuple[str, Omission]]] = {}
    for source, item in omitted:
        by_reason.setdefault((not item.text, item.reason), []).append((source, item))
    lines = []
    for (harmless, reason), items in sorted(by_reason.items()):
        count = sum(item.count for _, item in items)
        places = [f"{source} ({item.count}{', ' if item.place else ''}{item.place})" for source, item in items]
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        label = "left out" if harmless else "TEXT LOST"
        lines.append(plain(f"{label}: {count} {reason}: {', '.join(places[:_NAMED])}{more}", keep=""))
    return lines
