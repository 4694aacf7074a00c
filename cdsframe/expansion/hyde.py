"""HyDE: the generator writes a hypothetical answer passage, which is embedded with the question.

Gao, Ma, Lin and Callan, "Precise zero-shot dense retrieval without relevance labels" (arXiv 2212.10496). The passage
may be wrong; it is embedded and never shown. Does not change the words for BM25.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

from cdsframe.contracts import Generator, Retriever
from cdsframe.expansion.base import Expanding
from cdsframe.types import Filter, Message, Query


class Hyde(Expanding):
    """Averages the vectors of the question and of the generated passage (at most `generator.max_new_tokens` tokens).

    Args:
        instruction: prompt for the generator, with `{question}`.
        retriever: searches the expanded question.
        generator: writes the passage.
    """

    adds_vectors = needs_generator = True

    def __init__(self, instruction: str, retriever: Retriever, generator: Generator) -> None:
        super().__init__(retriever)
        self._instruction, self._generator = instruction, generator

    @staticmethod
    def problems(instruction: str) -> list[str]:
        """Returns the problems of the options: `instruction` must contain the variable `{question}` and no other."""
        try:
            used = {variable for _, variable, _, _ in Formatter().parse(instruction) if variable is not None}
        except ValueError as error:
            return [f"expansion.instruction: {error}"]
        return (
            [] if used == {"question"} else ["expansion.instruction must contain the variable {question} and no other"]
        )

    def expand(self, queries: Sequence[Query], filter: Filter) -> list[Query]:
        written = self._generator.generate(
            [[Message("user", self._instruction.format(question=query.text))] for query in queries]
        )
        return [
            Query(query.text, query.words, query.meaning, (*query.passages, *([one.text] if one.text.strip() else [])))
            for query, one in zip(queries, written, strict=True)
        ]
