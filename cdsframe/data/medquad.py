"""MedQuAD: consumer-health question-answer pairs of the US National Institutes of Health.

Ben Abacha and Demner-Fushman, "A Question-Entailment Approach to Question Answering" (BMC Bioinformatics 20:511, 2019),
CC BY 4.0. Not shipped: read from `CDSFRAME_DATA`, or from a folder of MedQuAD's own XML files. The pairs have no
evidence; they train closed-book, or with passages through `data=raft`.

Splits are by page, which does not keep everything apart: the questions are made from twenty templates, 255 of the 914
validation pairs are about a focus (a disease) that training pages are about too, 31 have an answer that stands in
training. So `subset` says which pairs of validation and test are asked; `unseen_focus` tells most.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from cdsframe.artifacts.files import read_jsonl, resolve
from cdsframe.data.cleaning import Flag, without_prefix
from cdsframe.data.medquad_xml import is_medquad, read_xml
from cdsframe.errors import ConfigError, EmptySplitError, InputError
from cdsframe.types import Question

log = logging.getLogger(__name__)

_TEXTS = ("id", "doc_id", "question", "answer")
_FILES = {"train": "medquad_train", "validation": "medquad_val", "test": "medquad_test"}
_NOT_LIKE_HELDOUT = frozenset({"short", "echo", "templated", "bad_question"})


class MedQuad:
    """The pairs of `medquad/medquad_{train,val,test}.jsonl.gz` in a data folder, or of MedQuAD's XML files, cleaned.

    Args:
        folder: the folder that CDSFRAME_DATA names, or that MedQuAD's repository was copied to.
        types: only pairs with one of these question types (`treatment`, `symptoms`, …); null: all.
        drop: pairs with one of these flags are left out (how many by each is logged).
        strip_question: takes the question off the answers that open by repeating it (flag `q_prefix`).
        subset: of validation and test `unseen_focus` asks only about what no training page is about, `like_heldout`
            only pairs whose question and answer stand once in the whole set, `all` all.
        limit: at most so many pairs a split, in the file's order; null: all.
    """

    scope = "MedQuAD"

    def __init__(
        self,
        folder: str | None,
        types: Annotated[list[str], Field(min_length=1)] | None,
        drop: list[Flag],
        strip_question: bool,
        subset: Literal["unseen_focus", "like_heldout", "all"],
        limit: Annotated[int, Field(ge=1)] | None,
    ) -> None:
        problems = self.problems(folder)
        if problems:
            raise ConfigError(problems)
        self.removed: dict[str, Counter[str]] = {}
        self._folder, self._drop, self._strip, self._limit = str(folder), set(drop), strip_question, limit
        self._types, self._subset = set(types or ()), subset
        self._records = cache(self._read)

    @staticmethod
    def problems(folder: str | None) -> list[str]:
        """That no folder is named, or that it holds no MedQuAD."""
        if folder is None:
            return ["data=medquad needs a data folder; set CDSFRAME_DATA to the one that holds medquad/"]
        if not (resolve(folder) / "medquad").is_dir() and not is_medquad(resolve(folder)):
            return [f"data=medquad: no folder medquad/ and none of MedQuAD's own (1_CancerGov_QA, …) in {folder}"]
        return []

    def questions(self, split: str) -> list[Question]:
        """The cleaned pairs of `train`, `validation` or `test`."""
        if split not in _FILES:
            raise EmptySplitError(f"data: MedQuAD has no split {split!r}; it has {', '.join(_FILES)}")
        removed: Counter[str] = Counter()
        found: list[Question] = []
        for record in self._records(split):
            reasons = sorted(self._drop.intersection(record["flags"])) or self._outside(record, split)
            removed.update(reasons)
            if not reasons:
                found.append(self._question(record, split))
            if len(found) == self._limit:
                break
        self.removed[split] = removed
        if removed:
            log.info("MedQuAD %s: left out: %s", split, ", ".join(f"{k} {n}" for k, n in sorted(removed.items())))
        if not found:
            raise EmptySplitError(
                f"data=medquad: no pair of split {split!r} is left; widen data.types, data.drop or subset"
            )
        return found

    def _question(self, record: Mapping[str, Any], split: str) -> Question:
        answer = record["answer"].strip()
        if self._strip and "q_prefix" in record["flags"]:
            answer = without_prefix(answer, record["question"])
        return Question(
            record["id"],
            record["question"],
            answer,
            type=record.get("question_type") or "open",
            split=split,
            group=record["doc_id"],
            topic=record.get("focus") or "",
        )

    def _outside(self, record: Mapping[str, Any], split: str) -> list[str]:
        """Why a pair without a flag is not asked; nothing where it is."""
        if self._types and record.get("question_type") not in self._types:
            return ["another_type"]
        if split == "train" or self._subset == "all":
            return []
        if self._subset == "unseen_focus":
            return ["seen_focus"] if _focus(record) in self._seen else []
        once = all(self._times[key, record[key]] == 1 for key in ("question", "answer"))
        return [] if once and not _NOT_LIKE_HELDOUT.intersection(record["flags"]) else ["not_like_heldout"]

    @cached_property
    def _seen(self) -> frozenset[str]:
        """What training pages are about."""
        return frozenset(_focus(record) for record in self._records("train"))

    @cached_property
    def _times(self) -> Counter[tuple[str, str]]:
        """How often each question and each answer stands in the whole set."""
        return Counter(
            (key, r[key]) for split in _FILES for r in self._records(split) for key in ("question", "answer")
        )

    def _read(self, split: str) -> list[dict[str, Any]]:
        if is_medquad(resolve(self._folder)):
            return read_xml(resolve(self._folder))[split]
        path = f"{self._folder}/medquad/{_FILES[split]}.jsonl.gz"
        found = []
        for number, record in read_jsonl(path, "data=medquad"):
            if not _is_pair(record):
                where = f"data=medquad: {path}, line {number}"
                raise InputError(f"{where}: {', '.join(_TEXTS)} must be strings, flags a list")
            found.append(record)
        return found


def _focus(record: Mapping[str, Any]) -> str:
    return " ".join(str(record.get("focus") or "").casefold().split())


def _is_pair(record: Mapping[str, Any]) -> bool:
    return all(isinstance(record.get(key), str) for key in _TEXTS) and isinstance(record.get("flags"), list)
