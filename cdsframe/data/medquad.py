"""MedQuAD: consumer-health question-answer pairs of the US National Institutes of Health.

Ben Abacha and Demner-Fushman, "A Question-Entailment Approach to Question Answering" (BMC Bioinformatics 20:511, 2019),
CC BY 4.0. Not shipped: read from `CDSFRAME_DATA`, or from a folder of MedQuAD's XML files. The pairs have no evidence;
they train closed-book, or with passages by `data=raft`.

Pages are split into training, validation and test, but other pages share content: the questions come from twenty
templates; of the 914 validation pairs, 255 are about a disease (their focus) that training pages are about too, and 31
have an answer that occurs in training. `subset` leaves such pairs out of validation and test; its strictest value is
`unseen_focus`.
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
    """The cleaned pairs of `medquad/medquad_{train,val,test}.jsonl.gz` in a data folder, or of MedQuAD's XML files.

    Args:
        folder: the data folder (`CDSFRAME_DATA`), or a copy of MedQuAD's repository.
        types: keeps only these question types (`treatment`, `symptoms`, …); null: all.
        drop: flags (see `cdsframe.data.cleaning`); a pair with any of them is dropped. The number per flag is logged.
        strip_question: removes the question from answers that begin by repeating it (flag `q_prefix`).
        subset: pairs of validation and test to keep. `all`; `unseen_focus`: pairs about diseases that no training page
            is about; `like_heldout`: pairs whose question and answer occur once in the whole data set, and that have
            none of the flags short, echo, templated and bad_question.
        limit: maximum pairs per split, in the file's order; null: no limit.
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
        """Returns an error if no folder is given or if it has no MedQuAD."""
        if folder is None:
            return ["data=medquad needs a data folder; set CDSFRAME_DATA to the folder that contains medquad/"]
        if not (resolve(folder) / "medquad").is_dir() and not is_medquad(resolve(folder)):
            return [f"data=medquad: {folder} contains neither medquad/ nor MedQuAD's folders (1_CancerGov_QA, …)"]
        return []

    def questions(self, split: str) -> list[Question]:
        """Returns the cleaned pairs of `train`, `validation` or `test`. Raises EmptySplitError if there are none."""
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
            log.info("MedQuAD %s: pairs dropped: %s", split, ", ".join(f"{k} {n}" for k, n in sorted(removed.items())))
        if not found:
            raise EmptySplitError(
                f"data=medquad: all pairs of split {split!r} were dropped; relax data.types, data.drop or data.subset"
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
        """Returns the reason why `types` or `subset` excludes a pair, as a list; empty if neither does."""
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
        """Focuses of the training pages."""
        return frozenset(_focus(record) for record in self._records("train"))

    @cached_property
    def _times(self) -> Counter[tuple[str, str]]:
        """How often each question and each answer occurs in the whole data set."""
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
