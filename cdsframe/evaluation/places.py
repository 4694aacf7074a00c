"""Locates the relevant passages of queries in the index, to group dependent queries and to find the relevant sections.

Does not search and does not score.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from cdsframe.contracts import Index
from cdsframe.evaluation.dependence import connected, keys
from cdsframe.evaluation.ranking import Qrels
from cdsframe.types import Hit, Passage

log = logging.getLogger(__name__)

_AT_ONCE = 500
"""Documents whose passages are read at once."""


class _Query(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def group(self) -> str: ...


def locate(index: Index, qrels: Qrels) -> dict[str, Passage]:
    """Passage id -> passage, for the relevant passages in the index. Warns about relevant passages that it lacks."""
    relevant = {passage for judged in qrels.values() for passage, grade in judged.items() if grade > 0}
    found: dict[str, Passage] = {}
    documents = sorted(index.documents(committed=True))
    for first in range(0, len(documents), _AT_ONCE):
        if len(found) == len(relevant):
            break
        passages = index.passages(documents[first : first + _AT_ONCE])
        found |= {passage.id: passage for passage in passages if passage.id in relevant}
    if len(found) < len(relevant):
        log.warning(
            "%d of %d relevant passages of the qrels are not in the index, so that no search can find them; check "
            "index.name, and ingest BEIR data with corpus=beir, which keeps passage ids",
            len(relevant) - len(found),
            len(relevant),
        )
    return found


def clusters(queries: Sequence[_Query], qrels: Qrels, places: Mapping[str, Passage]) -> list[str]:
    """Each query's cluster id. Queries with a common relevant document or group, also transitively, share a cluster."""
    found = []
    for query in queries:
        relevant = (id for id, grade in qrels[query.id].items() if grade > 0 and id in places)
        found.append(keys((places[id].document_id for id in relevant), query.group))
    return connected(found)


def by_section(
    found: Mapping[str, Sequence[Hit]], qrels: Qrels, places: Mapping[str, Passage]
) -> tuple[dict[str, list[str]], Qrels]:
    """Rankings and qrels of sections. A section ranks by its first passage; its grade is its passages' maximum."""
    rankings = {query: list(dict.fromkeys(_section(hit.passage) for hit in hits)) for query, hits in found.items()}
    judged: Qrels = {query: {} for query in found}
    for query, sections in judged.items():
        for id, grade in qrels[query].items():
            if id in places:
                section = _section(places[id])
                sections[section] = max(grade, sections.get(section, grade))
    return rankings, judged


def _section(passage: Passage) -> str:
    return f"{passage.document_id} {passage.section_id}"
