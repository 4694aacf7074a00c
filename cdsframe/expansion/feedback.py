"""Pseudo-relevance feedback: adds the most characteristic words of the first BM25 hits to the question.

Follows relevance models (Lavrenko and Croft, SIGIR 2001) interpolated with the question (RM3, Abdul-Jaleel et al., TREC
2004). Changes the words for BM25, not the embedded text. Uses hits under the same filter only, no statistics of the
whole corpus.
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
    """Searches by BM25 first, under the same filter, and takes terms from the hits.

    A term's weight is the sum, over the first `num_passages` hits, of its relative frequency in the hit times the hit's
    share of their scores, multiplied by the term's rarity among the `num_background` hits.

    Args:
        num_passages: number of hits, from the first, that terms are taken from.
        num_background: number of hits among which a term's rarity is computed; more than `num_passages`.
        num_terms: number of added terms.
        question_weight: repetitions of the question's words; each added term occurs once.
        retriever: searches the expanded question.
        index: runs the first search.
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
        """Returns the problems of the options: `num_background` must be larger than `num_passages`."""
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
        """The highest-weighted words that the question lacks, by weight, ties alphabetically."""
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
