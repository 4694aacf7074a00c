"""Reorders hits by metadata: kind, date, and newer versions of a document.

Dates are ISO 8601 (`2025-02-03`, `2025-02`, `2025`); any other format counts as no date.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

from cdsframe.types import Hit, Metadata, Passage

Versions = Literal["as_ranked", "newest_first", "newest_only"]
Lineage = Literal["title", "source", "url", "author", "department", "kind"]

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?(?![\d-])")
_VERSION = re.compile(
    r"\((?:[^()]*\b(?:\d{4}|version|revised|revision|edition|update|updated|superseded|draft|v\d)\b[^()]*)\)"
    r"|\b(?:19|20)\d{2}\b|\b(?:version|edition|revision|revised|v)\s*\d+(?:\.\d+)*\b",
    re.IGNORECASE,
)


def boosts(metadata: Sequence[Metadata], kinds: Mapping[str, float], recency: float, half_life: float) -> list[float]:
    """The boost of each hit for kind and date. Ages are relative to the newest hit, so results do not change over
    time."""
    dates = [day(one) for one in metadata]
    newest = max((known for known in dates if known is not None), default=None)
    added = []
    for one, own in zip(metadata, dates, strict=True):
        age = None if own is None or newest is None else (newest - own).days
        fresh = 0.0 if age is None else recency * 0.5 ** (age / half_life)
        added.append(kinds.get(one.get("kind", ""), 0.0) + fresh)
    return added


def by_version(
    hits: Sequence[Hit], relevance: Sequence[float], versions: Versions, lineage: Lineage
) -> tuple[list[Hit], list[float]]:
    """Returns hits and relevances, with newer versions before older ones (`newest_first`) or without older ones.

    Relevance belongs to the position: a hit that moves gets the relevance of its new position.
    """
    places = defaultdict(list)
    for place, hit in enumerate(hits):
        key, dated = _line(hit.passage, lineage), day(hit.passage.metadata)
        if versions != "as_ranked" and key is not None and dated is not None:
            places[key].append((dated, place))
    taken: list[int | None] = list(range(len(hits)))
    for listed in places.values():
        newest = max(dated for dated, _ in listed)
        order = sorted(listed, key=lambda entry: (-entry[0].toordinal(), entry[1]))
        for (_, place), (dated, source) in zip(listed, order, strict=True):
            taken[place] = source if versions == "newest_first" or dated == newest else None
    kept = [(hits[source], relevance[place]) for place, source in enumerate(taken) if source is not None]
    return [hit for hit, _ in kept], [worth for _, worth in kept]


def day(metadata: Metadata) -> date | None:
    """The document's date (the first day of a month or year); None if missing or unreadable."""
    found = _DATE.match(metadata.get("date", "").strip())
    if found is None:
        return None
    year, month, number = (int(part or 1) for part in found.groups())
    try:
        return date(year, month, number)
    except ValueError:
        return None


def _line(passage: Passage, lineage: Lineage) -> tuple[str, ...] | None:
    """Key shared by all versions of a document; None if the document has no versions."""
    metadata = passage.metadata
    if metadata.get("patient"):
        return None
    if lineage != "title":
        return (metadata[lineage],) if metadata.get(lineage) else None
    title = " ".join(re.findall(r"\w+", _VERSION.sub(" ", passage.title).casefold()))
    return (title, metadata.get("kind", ""), metadata.get("department", "")) if title else None
