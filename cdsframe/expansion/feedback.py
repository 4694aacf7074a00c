"""Pseudo-relevance feedback: the words that mark the first passages found are added to the question's.

After relevance models (Lavrenko and Croft, SIGIR 2001) mixed with the question (RM3, Abdul-Jaleel et al., TREC 2004).
Changes what BM25 reads, not what is embedded. Asks the index alone: no corpus statistics that a filter would hide.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Index, Retriever
from cdsframe.expansion.base import Expanding
from cdsframe.text.search_form import search_words
from cdsframe.types import Filter, Hit, Query, Request

_WORD = re.compile(r"[^\W\d_]{3,}")


class Feedback(Expanding):
    """Searches by words first, under the same filter, and takes words from what it finds.

    A word's weight is its share of each passage, by the passage's share of the scores, times its rarity among the
    `num_background` passages found.

    Args:
        num_passages: the first passages, from which words are taken.
        num_background: the passages found, among which a word's rarity is counted.
        num_terms: how many words are added.
        question_weight: how often each of the question's words counts for an added one.
        retriever: searches the expanded question.
        index: is asked for the first passages.
    """

    adds_words = True

    def __init__(
        self,
        num_passages: Annotated[int, Field(ge=1)],
        num_background: Annotated[int, Field(ge=10)],
        num_terms: Annotated[int, Field(ge=1)],
        question_weight: Annotated[int, Field(ge=1)],
        retriever: Retriever,
        index: Index,
    ) -> None:
        super().__init__(retriever)
        self._num_passages, self._num_background, self._num_terms = num_passages, num_background, num_terms
        self._weight, self._index = question_weight, index

    @staticmethod
    def problems(num_passages: int, num_background: int) -> list[str]:
        """Empty if rarity is counted among more passages than words are taken from."""
        if num_passages < num_background:
            return []
        return [f"expansion.num_passages={num_passages} must be < expansion.num_background={num_background}"]

    def expand(self, queries: Sequence[Query], filter: Filter) -> list[Query]:
        found = self._index.search(
            [Request(self._num_background, text=query.words, filter=filter) for query in queries]
        )
        return [self._expanded(query, hits) for query, hits in zip(queries, found, strict=True)]

    def _expanded(self, query: Query, hits: Sequence[Hit]) -> Query:
        terms = self._terms(query.words, hits)
        words = " ".join([*[query.words] * self._weight, *terms]) if terms else query.words
        return Query(query.text, words, query.meaning, query.passages)

    def _terms(self, question: str, hits: Sequence[Hit]) -> list[str]:
        """The words of most weight that the question does not have, the heaviest first, ties by alphabet."""
        counts = [Counter(_words(hit.passage.search_text)) for hit in hits]
        spread = Counter(word for count in counts for word in count)
        total = sum(hit.score for hit in hits[: self._num_passages])
        weights: Counter[str] = Counter()
        for hit, count in zip(hits[: self._num_passages], counts, strict=False):
            for word, times in count.items():
                rarity = math.log((1 + len(hits)) / (1 + spread[word]))
                weights[word] += hit.score / total * times / count.total() * rarity  # type: ignore[assignment]
        asked = set(_words(question))
        order = sorted((word for word in weights if word not in asked), key=lambda word: (-weights[word], word))
        return [word for word in order[: self._num_terms] if weights[word] > 0]


def _words(text: str) -> list[str]:
    return _WORD.findall(search_words(text, question=True).casefold())
