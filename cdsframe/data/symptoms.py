"""Symptom-based disease prediction: MedQuAD's descriptions of symptoms, without the name, ask for the disease.

Running text and the tables of the Human Phenotype Ontology (flag `hpo_table`) alike; sentences and entries that share a
word with the name are left out. What was written under a disease's name is easier than what a patient tells: figures on
it are no figures on patients.
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
"""A description of fewer words fits too many diseases."""
_TABLE = re.compile(r"\(when available\)(.*?)(?:The Human Phenotype Ontology \(HPO\) has|$)", re.DOTALL)
_FREQUENCY = re.compile(r"\s(?:\d+(?:\.\d+)?%|\d+/\d+|-)\s")
_COMMON = frozenset({
    "disease", "diseases", "syndrome", "disorder", "disorders", "deficiency", "cancer", "tumor", "tumors", "adult",
    "childhood", "type", "with", "and", "the", "of", "in", "from", "due", "related", "familial", "hereditary",
    "congenital", "chronic", "acute", "primary", "secondary",
})  # fmt: skip
"""Words of disease names that give nothing away."""


class Symptoms:
    """MedQuAD's pairs of type `symptoms`: a question is the description, the answer the disease.

    Args:
        folder: the folder that CDSFRAME_DATA names, or that MedQuAD's repository was copied to.
        drop: pairs with one of these flags are left out.
        subset: which pairs of validation and test are asked (see `cdsframe.data.medquad`).
        max_words: a longer description ends before; its first sentence or symptom always stays.
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
        """Split -> rule -> how many pairs it took out."""
        return {split: {**rules, **self._removed.get(split, {})} for split, rules in self._source.removed.items()}

    def questions(self, split: str) -> list[Question]:
        """The descriptions of one split."""
        pairs = self._source.questions(split)
        found = [turned for pair in pairs if (turned := self._turned(pair))]
        self._removed[split] = +Counter(too_little_without_the_name=len(pairs) - len(found))
        if not found:
            raise EmptySplitError(f"data=symptoms: no description of split {split!r} is left without the name")
        return found

    def _turned(self, pair: Question) -> Question | None:
        """The description as the question; None where too little is left without the name, or there is no name."""
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
    """The symptoms of a flattened table, the most frequent first; how a disease is inherited is none."""
    entries = (entry.strip() for entry in _FREQUENCY.split(f"{table} "))
    return [entry.lower() for entry in entries if entry and "inheritance" not in entry]


def _statements(text: str, *names: str) -> list[str]:
    """The sentences of a description, the disease's names and their initials masked."""
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
    """The words that could tell a name."""
    return {word for word in re.findall(r"[a-z]{4,}", text.casefold()) if word not in _COMMON}
