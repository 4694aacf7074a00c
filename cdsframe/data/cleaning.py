"""Flags faulty question-answer pairs, and removes from an answer the question that it begins with.

Does not drop pairs: a source's option `drop` names the flags to drop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

Flag = Literal["q_prefix", "hpo_table", "templated", "long", "short", "echo", "bad_question"]
"""q_prefix: the answer begins with its question; hpo_table: it is a flattened table of the Human Phenotype Ontology;
templated: five or more pairs have the same answer; long: more than 800 words; short: fewer than 8 words; echo: the
answer is only a question; bad_question: the question lacks its subject."""

_TEMPLATED, _LONG, _SHORT = 5, 800, 8


def flags(pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Returns the flags of each pair of question and answer."""
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
    """Removes the question from an answer that begins with it, unless nothing would remain."""
    head, mark, rest = answer.partition("?")
    wanted = {word for word in question.casefold().split() if len(word) > 3}
    repeated = wanted & set((head + "?").casefold().split())
    if mark and rest.strip() and len(head) < 2 * len(question) + 40 and 2 * len(repeated) >= len(wanted):
        return rest.strip()
    return answer
