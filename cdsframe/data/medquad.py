"""MedQuAD: consumer-health question-answer pairs of the US National Institutes of Health.

Ben Abacha and Demner-Fushman, "A Question-Entailment Approach to Question Answering" (BMC Bioinformatics 20:511, 2019),
CC BY 4.0. Not shipped: read from `CDSFRAME_DATA`. The pairs have no evidence; they train closed-book.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Annotated, Any

from pydantic import Field

from cdsframe.errors import ConfigError, InputError
from cdsframe.files import read_jsonl, resolve
from cdsframe.types import Question

log = logging.getLogger(__name__)

_TEXTS = ("id", "doc_id", "question", "answer")
_FILES = {"train": "medquad_train", "validation": "medquad_val", "test": "medquad_test"}


class MedQuad:
    """The pairs of `medquad/medquad_{train,val,test}.jsonl.gz` in a data folder, cleaned.

    Args:
        folder: the folder that CDSFRAME_DATA names.
        drop: pairs with one of these flags are left out (how many by each is logged).
        strip_question: takes the question off the answers that open by repeating it (flag `q_prefix`).
        limit: at most so many pairs a split, in the file's order; null: all.
    """

    scope = "MedQuAD"

    def __init__(
        self,
        folder: str | None,
        drop: list[str],
        strip_question: bool,
        limit: Annotated[int, Field(ge=1)] | None,
    ) -> None:
        problems = self.problems(folder)
        if problems:
            raise ConfigError(problems)
        self.removed: dict[str, Counter[str]] = {}
        self._folder, self._drop, self._strip, self._limit = folder, list(drop), strip_question, limit

    @staticmethod
    def problems(folder: str | None) -> list[str]:
        """That no folder is named, or that it holds no MedQuAD."""
        if folder is None:
            return ["data=medquad needs a data folder; set CDSFRAME_DATA to the one that holds medquad/"]
        if not (resolve(folder) / "medquad").is_dir():
            return [f"data=medquad: no folder medquad/ in {folder} (paths.data)"]
        return []

    def questions(self, split: str) -> list[Question]:
        """The cleaned pairs of `train`, `validation` or `test`."""
        if split not in _FILES:
            raise InputError(f"data: MedQuAD has no split {split!r}; it has {', '.join(_FILES)}")
        dropped: Counter[str] = Counter()
        found: list[Question] = []
        path = f"{self._folder}/medquad/{_FILES[split]}.jsonl.gz"
        for number, record in read_jsonl(path, "data=medquad"):
            if not _is_pair(record):
                raise InputError(
                    f"data=medquad: {path}, line {number}: {', '.join(_TEXTS)} must be strings, flags a list"
                )
            flags = [flag for flag in record["flags"] if flag in self._drop]
            if flags:
                dropped.update(flags)
                continue
            answer = record["answer"].strip()
            if self._strip and "q_prefix" in record["flags"]:
                answer = _without_prefix(answer, record["question"])
            group = record["doc_id"]
            found.append(Question(record["id"], record["question"], answer, type="open", split=split, group=group))
            if self._limit is not None and len(found) == self._limit:
                break
        self.removed[split] = dropped
        if dropped:
            log.info(
                "MedQuAD %s: left out by flag: %s", split, ", ".join(f"{k} {n}" for k, n in sorted(dropped.items()))
            )
        return found


def _is_pair(record: dict[str, Any]) -> bool:
    return all(isinstance(record.get(key), str) for key in _TEXTS) and isinstance(record.get("flags"), list)


def _without_prefix(answer: str, question: str) -> str:
    """The answer less the question it opens with; the whole answer where nothing would remain."""
    head, mark, rest = answer.partition("?")
    wanted = {word for word in question.casefold().split() if len(word) > 3}
    repeated = wanted & set((head + "?").casefold().split())
    if mark and rest.strip() and len(head) < 2 * len(question) + 40 and 2 * len(repeated) >= len(wanted):
        return rest.strip()
    return answer
