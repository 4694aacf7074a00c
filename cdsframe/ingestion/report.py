"""What an ingestion did, for people, for `metrics.json` and for the command's exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cdsframe.text.printable import plain
from cdsframe.types import Document, Metrics, Omission, Unreadable

_NAMED = 5
"""Sources that a line of the report names."""


@dataclass
class Report:
    """What was done, counted in documents, and passages where it says so."""

    corpus: str = ""
    """The name of the corpus that was ingested."""
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
    omitted: list[tuple[str, Omission]] = field(default_factory=list)
    """Source -> a part of it that its reader left out; of all documents of the corpus, unchanged ones too."""

    def omit(self, document: Document) -> None:
        """Adds what a document's reader left out."""
        self.omitted += omissions_of(document)

    @property
    def score(self) -> float:
        """What a sweep compares: the share of the passages written that the embedder cuts."""
        return self.cut / self.passages if self.passages else 0.0

    @property
    def metrics(self) -> Metrics:
        """Flat, for `metrics.json`."""
        counts = ("added", "changed", "unchanged", "removed", "kept", "passages")
        return {
            **{f"ingest/{name}": float(getattr(self, name)) for name in counts},
            "ingest/cut_share": self.score,
            "ingest/unreadable": float(len(self.unreadable)),
            **omission_metrics(self.omitted),
        }

    @property
    def failure(self) -> str | None:
        """Why the command has not done all that it was asked for, if it has not."""
        if not self.unreadable:
            return None
        return f"{len(self.unreadable)} sources could not be read and are listed above; the others went in"

    @property
    def text(self) -> str:
        """A few lines for people."""
        counts = ("added", "changed", "unchanged", "removed")
        lines = ["documents: " + ", ".join(f"{getattr(self, name)} {name}" for name in counts)]
        lines.append(f"passages written: {self.passages}")
        lines += [plain(f"corpus: {self.corpus}", keep="")] if self.corpus else []
        if self.cut:
            lines.append(
                f"{self.cut} of them ({self.score:.1%}) are longer than the embedder reads, "
                "their ends have no part in the vectors"
            )
        if self.unreadable:
            lines.append(f"could not be read: {len(self.unreadable)}")
            lines += [plain(f"  {item.source}: {item.reason}", keep="") for item in self.unreadable]
        lines += omission_lines(self.omitted)
        if self.kept:
            lines.append(f"{self.kept} documents stay as they were when their files could last be read")
        return "\n".join(lines)


def omissions_of(document: Document) -> list[tuple[str, Omission]]:
    """Source -> a part of it that its reader left out, for each such part."""
    source = document.metadata.get("source", document.id)
    return [(source, item) for item in document.omitted]


def omission_metrics(omitted: Iterable[tuple[str, Omission]]) -> Metrics:
    """How many parts were left out, and how many of them lose text."""
    counts = [(item.count, item.text) for _, item in omitted]
    return {
        "ingest/omitted": float(sum(count for count, _ in counts)),
        "ingest/text_lost": float(sum(count for count, text in counts if text)),
    }


def omission_lines(omitted: Iterable[tuple[str, Omission]]) -> list[str]:
    """One line for each reason: how many parts were left out, of which sources."""
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
