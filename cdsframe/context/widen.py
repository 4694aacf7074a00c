"""Widens hits: to the whole section if enough of its passages are hits, and by neighbouring passages.

Stays within the section, so the heading stays true, and within the document, so access rights to a hit cover the added
text. Does not search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cdsframe.contracts import Embedder, Index
from cdsframe.types import Hit, Passage

SectionKey = tuple[str, str]
"""(document id, section id)."""


def widen(
    hits: Sequence[Hit], merge_share: float | None, neighbours: int, tokens: int, index: Index, embedder: Embedder
) -> list[Hit]:
    """The widened hits. A hit inside a better hit is removed, and later hits move up.

    Args:
        hits: best first.
        merge_share: if at least this fraction of a section's passages are hits, its best hit becomes the whole section
            (auto-merging retrieval); None: never.
        neighbours: number of passages added on each side of a hit, nearest first.
        tokens: maximum length of a widened passage, in the embedder's tokens.
        index: contains the neighbours.
        embedder: counts tokens.
    """
    found = Counter(_section(hit.passage) for hit in hits)
    most = {section: _most(count, merge_share, tokens) for section, count in found.items()}
    sections = _around(hits, {section: max(neighbours, most[section]) for section in most}, index)
    kept: list[Hit] = []
    for hit in hits:
        passage, section = hit.passage, _section(hit.passage)
        around = sections.get(section, [])
        places = {own.id: place for place, own in enumerate(around)}
        if passage.id not in places or any(_within(passage, better.passage) for better in kept):
            kept += [hit] if passage.id not in places else []
            continue
        whole = join(around) if len(around) <= most[section] else None
        if whole is None or embedder.count(whole.search_text) > tokens:
            whole = _with_neighbours(around, places[passage.id], neighbours, tokens, embedder)
        kept.append(replace(hit, passage=replace(whole, id=passage.id, ordinal=passage.ordinal), rank=len(kept) + 1))
    return [replace(hit, rank=rank) for rank, hit in enumerate(kept, start=1)]


def _section(passage: Passage) -> SectionKey:
    return passage.document_id, passage.section_id


def _most(found: int, merge_share: float | None, tokens: int) -> int:
    """Maximum number of passages of a section that is merged; at most `tokens`, since each has at least one token."""
    return 0 if merge_share is None else min(int(found / merge_share + 1e-9), tokens)


def _around(hits: Sequence[Hit], reach: Mapping[SectionKey, int], index: Index) -> dict[SectionKey, list[Passage]]:
    """The passages of each hit's section within `reach` ordinals of one of its hits, in order.

    So all passages of a section with at most `reach` passages are read, and more than `reach` of a longer one.
    """
    wanted = []
    for hit in hits:
        passage, far = hit.passage, reach[_section(hit.passage)]
        wanted.append((passage.document_id, passage.ordinal - far, passage.ordinal + far))
    sections: dict[SectionKey, list[Passage]] = {}
    for passage in index.between(wanted):
        sections.setdefault(_section(passage), []).append(passage)
    return sections


def join(passages: Sequence[Passage]) -> Passage:
    """Joins neighbouring passages under the id of the first. Offsets stay exact; blanks between passages may differ."""
    text, end = passages[0].text, passages[0].end
    for passage in passages[1:]:
        gap = passage.start - end
        text += ("\n\n" + " " * (gap - 2) if gap > 1 else " " * gap) + passage.text[max(0, -gap) :]
        end = max(end, passage.end)
    return replace(passages[0], text=text, end=end)


def _with_neighbours(around: Sequence[Passage], place: int, reach: int, tokens: int, embedder: Embedder) -> Passage:
    """Adds passages one at a time, alternately after and before the hit, if at most `tokens` tokens result."""
    first = last = place
    for step in range(2 * reach):
        low, high = (first, last + 1) if step % 2 == 0 else (first - 1, last)
        if low >= 0 and high < len(around) and embedder.count(join(around[low : high + 1]).search_text) <= tokens:
            first, last = low, high
    return join(around[first : last + 1])


def _within(passage: Passage, other: Passage) -> bool:
    same = passage.document_id == other.document_id
    return same and other.start <= passage.start and passage.end <= other.end
