"""Symptom-based disease prediction from MedQuAD: the question is a description of symptoms, the answer the disease.

Uses prose and the tables of the Human Phenotype Ontology (flag `hpo_table`); drops sentences and entries that share a
word with the disease's name. Texts written about a disease are easier than patients' reports, so metrics do not
transfer to patients.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from cdsframe.data.cleaning import Flag
from cdsframe.data.medquad import MedQuad
from cdsframe.errors import EmptySplitError
from cdsframe.text.sentences import sentences
from cdsframe.types import Question

_NAME = "this condition"
_FEWEST_WORDS = 8
"""Minimum words of a description: a shorter one fits too many diseases."""
_TABLE = re.compile(r"\(when available\)(.*?)(?:The Human Phenotype Ontology \(HPO\) has|$)", re.DOTALL)
_FREQUENCY = re.compile(r"\s(?:\d+(?:\.\d+)?%|\d+/\d+|-)\s")
_COMMON = frozenset({
    "disease", "diseases", "syndrome", "disorder", "disorders", "deficiency", "cancer", "tumor", "tumors", "adult",
    "childhood", "type", "with", "and", "the", "of", "in", "from", "due", "related", "familial", "hereditary",
    "congenital", "chronic", "acute", "primary", "secondary",
})  # fmt: skip
"""Common words of disease names, which do not reveal the disease."""


class Symptoms:
    """MedQuAD's pairs of type `symptoms`: the question is the description, the answer the disease.

    Args:
        folder: the data folder (`CDSFRAME_DATA`), or a copy of MedQuAD's repository.
        drop: flags (see `cdsframe.data.cleaning`); a pair with any of them is dropped.
        subset: pairs of validation and test to keep (see `cdsframe.data.medquad`).
        max_words: a longer description is cut after a sentence or symptom; its first one is always kept.
    """

    scope = "MedQuAD"

    def __init__(
        self,
        folder: str | None,
        drop: list[Flag],
        subset: Literal["unseen_focus", "like_heldout", "all"],
        max_words: Annotated[int, Field(ge=10)],
    ) -> None:
        self._source = MedQuad(folder, ["symptoms"], drop, True, subset, None)
        self._most = max_words
        self._removed: dict[str, Counter[str]] = {}

    problems = staticmethod(MedQuad.problems)

    @property
    def removed(self) -> dict[str, dict[str, int]]:
        """Split -> rule -> number of dropped pairs."""
        return {split: {**rules, **self._removed.get(split, {})} for split, rules in self._source.removed.items()}

    def questions(self, split: str) -> list[Question]:
        """Returns the descriptions of one split. Raises EmptySplitError if there are none."""
        pairs = self._source.questions(split)
        found = [question for pair in pairs if (question := self._description(pair))]
        self._removed[split] = +Counter(too_little_without_the_name=len(pairs) - len(found))
        if not found:
            raise EmptySplitError(
                f"data=symptoms: without the disease's name, no description of split {split!r} has {_FEWEST_WORDS} "
                "words; relax data.drop or data.subset"
            )
        return found

    def _description(self, pair: Question) -> Question | None:
        """Returns a question with the description; None if there is no name, or too few words without it."""
        name = re.sub(r"\s*\([^)]*\)", "", pair.topic).strip()
        if not name:
            return None
        table = _TABLE.search(pair.answer)
        parts = _entries(table[1]) if table else _statements(pair.answer, name, pair.topic)
        stems = tuple(word[:7] for word in _content(name))
        parts = [part for part in parts if not any(word.startswith(stems) for word in _content(part))]
        taken = ""
        for part in parts:
            longer = f"{taken}{', ' if table else ' '}{part}" if taken else part
            if taken and len(longer.split()) > self._most:
                break
            taken = longer
        if len(taken.split()) < _FEWEST_WORDS:
            return None
        return replace(pair, question=f"Symptoms: {taken}\n\nWhich disease is this?", answer=name)


def _entries(table: str) -> list[str]:
    """Returns the symptoms of a flattened table, the most frequent first, without the mode of inheritance."""
    entries = (entry.strip() for entry in _FREQUENCY.split(f"{table} "))
    return [entry.lower() for entry in entries if entry and "inheritance" not in entry]


def _statements(text: str, *names: str) -> list[str]:
    """Returns the sentences of a description, with the disease's names and their initials masked."""
    masked = [rf"\b{re.escape(name)}(?!\w)" for name in names]
    for name in names:
        initials = "".join(word[0] for word in re.findall(r"[A-Za-z]+", name)).upper()
        masked += [
            rf"(?-i:\(?\b{initials[at:]}\b\)?)" for at in range(len(initials) - 1) if at == 0 or at < len(initials) - 2
        ]
    one = f"(?:{'|'.join(masked)})"
    mask = re.compile(rf"{one}(?:\s+{one})*", re.IGNORECASE)
    parts = (" ".join(text[start:end].split()) for start, end, _ in sentences(text))
    return [mask.sub(_NAME, part) for part in parts]


def _content(text: str) -> set[str]:
    """Returns the words that could reveal a name."""
    return {word for word in re.findall(r"[a-z]{4,}", text.casefold()) if word not in _COMMON}
