"""What is wrong with a question-answer pair, as flags that a source's option `drop` names.

Does not decide what is left out, and mends nothing but an answer that repeats its question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

Flag = Literal["q_prefix", "hpo_table", "templated", "long", "short", "echo", "bad_question"]
"""The answer opens with its question; is a flattened table of the Human Phenotype Ontology; stands word for word on
five pairs or more; has more than 800 words; fewer than 8; is only a question; the question names nothing."""

_TEMPLATED, _LONG, _SHORT = 5, 800, 8


def flags(pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The flags of each pair of question and answer, among all of them."""
    repeated = Counter(answer for _, answer in pairs)
    return [list(_flags(question, answer, repeated[answer])) for question, answer in pairs]


def _flags(question: str, answer: str, times: int) -> Iterable[str]:
    length = len(answer.split())
    if without_prefix(answer, question) != answer:
        yield "q_prefix"
    if "Human Phenotype Ontology" in answer:
        yield "hpo_table"
    if times >= _TEMPLATED:
        yield "templated"
    if length > _LONG:
        yield "long"
    if length < _SHORT:
        yield "short"
    if answer.rstrip().endswith("?") and answer.count("?") == 1 and "." not in answer:
        yield "echo"
    if question.replace("?", "").strip().endswith(("(are)", "for", "of", "with")):
        yield "bad_question"


def without_prefix(answer: str, question: str) -> str:
    """The answer less the question it opens with; the whole answer where nothing would remain."""
    head, mark, rest = answer.partition("?")
    wanted = {word for word in question.casefold().split() if len(word) > 3}
    repeated = wanted & set((head + "?").casefold().split())
    if mark and rest.strip() and len(head) < 2 * len(question) + 40 and 2 * len(repeated) >= len(wanted):
        return rest.strip()
    return answer
