"""Baselines for evaluation: the gold passages (upper bound) and random passages (lower bound).

Do not search the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from random import Random as RandomGenerator
from typing import Annotated

from pydantic import Field

from cdsframe.contracts import DataSource, Index
from cdsframe.errors import InputError
from cdsframe.retriever.base import BaseRetriever, scored_by
from cdsframe.types import Evidence, Filter, Hit, Passage, Query

_SPLITS = ("train", "validation", "test")


class Gold(BaseRetriever):
    """Returns the passages that contain the evidence of a question in `data`; nothing for all other questions.

    Args:
        top_k: number of passages returned unless a search asks for another number.
        index: contains the passages.
        data: the questions with their evidence.
    """

    def __init__(self, top_k: Annotated[int, Field(ge=1)], index: Index, data: DataSource) -> None:
        super().__init__(top_k)
        self._index, self._data = index, data

    @cached_property
    def _evidence(self) -> Mapping[str, tuple[Evidence, ...]]:
        evidence: dict[str, tuple[Evidence, ...]] = {}
        for split in _SPLITS:
            try:
                questions = self._data.questions(split)
            except InputError:
                continue  # a data set need not have every split
            for question in questions:
                evidence[question.question] = evidence.get(question.question, ()) + question.evidence
        return evidence

    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        if filter and not self._index.holds(filter):
            return [[] for _ in queries]
        ids = sorted({e.document_id for query in queries for e in self._evidence.get(query.text, ())})
        passages: dict[str, list[Passage]] = {}
        for passage in self._index.passages(ids):
            if _allowed(passage, filter):
                passages.setdefault(passage.document_id, []).append(passage)
        return [self._gold(self._evidence.get(query.text, ()), passages) for query in queries]

    def _gold(self, evidence: Sequence[Evidence], passages: Mapping[str, list[Passage]]) -> list[Hit]:
        """For each evidence span the passage that covers most of it, then further passages by coverage."""
        shown = [
            (-min(passage.end, span.end) + max(passage.start, span.start), number, passage.ordinal, passage)
            for number, span in enumerate(evidence)
            for passage in passages.get(span.document_id, ())
            if span.overlaps(passage)
        ]
        first = {span: min((s for s in shown if s[1] == span), key=lambda s: s[:3]) for span in {s[1] for s in shown}}
        order = [*(first[span] for span in sorted(first)), *sorted(shown, key=lambda s: s[:3])]
        found = list({passage.id: passage for *_, passage in order}.values())
        return scored_by("gold", [Hit(passage, 1 / rank, rank) for rank, passage in enumerate(found, start=1)])


class Random(BaseRetriever):
    """Random passages, the same for the same question and seed.

    Args:
        top_k: number of passages returned unless a search asks for another number.
        index: the passages to draw from.
        seed: seed of the draw.
    """

    def __init__(self, top_k: Annotated[int, Field(ge=1)], index: Index, seed: int) -> None:
        super().__init__(top_k)
        self._index, self._seed = index, seed

    @cached_property
    def _passages(self) -> list[Passage]:
        return self._index.passages(sorted(self._index.documents(committed=True)))

    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        if filter and not self._index.holds(filter):
            return [[] for _ in queries]
        allowed = [passage for passage in self._passages if _allowed(passage, filter)]
        results = []
        for query in queries:
            seed = sha256(f"{self._seed}|{query.text}".encode("utf-8", "surrogatepass")).hexdigest()
            generator, drawn = RandomGenerator(seed), dict[int, None]()
            while len(drawn) < min(wanted, len(allowed)):
                drawn.setdefault(generator.randrange(len(allowed)))
            results.append(
                scored_by("random", [Hit(allowed[n], 1 / rank, rank) for rank, n in enumerate(drawn, start=1)])
            )
        return results


def _allowed(passage: Passage, filter: Filter) -> bool:
    """Whether a passage matches a filter. Applied before ranking and drawing."""
    return all(
        passage.metadata.get(field) in ([value] if isinstance(value, str) else value) for field, value in filter.items()
    )
