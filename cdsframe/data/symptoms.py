"""Symptom-based disease prediction: MedQuAD's descriptions of symptoms, without the name, ask for the disease.

Descriptions that still tell the name are left out. What a text tells that was written under a disease's name is easier
than what a patient tells: figures on it are no figures on patients.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from cdsframe.data.cleaning import Flag
from cdsframe.data.medquad import MedQuad
from cdsframe.errors import EmptySplitError
from cdsframe.shingles import sentences
from cdsframe.types import Question

_NAME = "this condition"
_COMMON = frozenset({
    "disease", "diseases", "syndrome", "disorder", "disorders", "deficiency", "cancer", "tumor", "tumors", "adult",
    "childhood", "type", "with", "and", "the", "of", "in", "from", "due", "related", "familial", "hereditary",
    "congenital", "chronic", "acute", "primary", "secondary",
})  # fmt: skip
"""Words of disease names that give nothing away."""


class _Source(Protocol):
    scope: str
    removed: Mapping[str, Mapping[str, int]]

    def questions(self, split: str) -> list[Question]: ...


class Symptoms:
    """MedQuAD's pairs of type `symptoms`: a question is the description, the answer the disease.

    Args:
        folder: the folder that CDSFRAME_DATA names, or that MedQuAD's repository was copied to.
        drop: pairs with one of these flags are left out.
        subset: which pairs of validation and test are asked (see `cdsframe.data.medquad`).
        max_words: a longer description is cut at a sentence's end.
    """

    scope = "MedQuAD"

    def __init__(
        self,
        folder: str | None,
        drop: list[Flag],
        subset: Literal["unseen_focus", "like_heldout", "all"],
        max_words: Annotated[int, Field(ge=10)],
    ) -> None:
        self._source: _Source = MedQuad(folder, ["symptoms"], drop, True, subset, None)
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
        self._removed[split] = +Counter(tells_the_name=len(pairs) - len(found))
        if not found:
            raise EmptySplitError(f"data=symptoms: every description of split {split!r} tells the disease's name")
        return found

    def _turned(self, pair: Question) -> Question | None:
        """The description as the question; None where it tells the name, or there is no name."""
        name = re.sub(r"\s*\([^)]*\)", "", pair.topic).strip()
        if not name:
            return None
        text = re.sub(rf"\b{re.escape(name)}\b|\b{re.escape(pair.topic)}\b", _NAME, pair.answer, flags=re.IGNORECASE)
        initials = "".join(word[0] for word in re.findall(r"[A-Za-z]+", name) if word not in _COMMON).upper()
        if len(initials) > 1:
            text = re.sub(rf"\(?\b{initials}\b\)?", _NAME, text)
        description = " ".join(text[: self._end(text)].split())
        told = {word for word in re.findall(r"[a-z]{4,}", name.casefold()) if word not in _COMMON}
        if told & set(re.findall(r"[a-z]{4,}", description.casefold())):
            return None
        return replace(pair, question=f"Symptoms: {description}\n\nWhich disease is this?", answer=name)

    def _end(self, text: str) -> int:
        spans: list[Any] = sentences(text)
        fitting = [end for _, end in spans if len(text[:end].split()) <= self._most]
        return fitting[-1] if fitting else spans[0][1]
