"""Reads JSON Lines files of questions with answers and evidence.

A record has `id`, `question`, `answer` and optionally `aliases`, `type`, `split` and `evidence`, a list of
`{document_id, start, end}` (character offsets in the document's text) or `{document_id, quote}`. Builds no prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.files import InputFile, read_jsonl
from cdsframe.contracts import Corpus
from cdsframe.data.evidence import EvidenceReader
from cdsframe.data.splits import SPLITS
from cdsframe.errors import EmptySplitError, InputError
from cdsframe.types import Question


class JsonlQuestions:
    """Questions from files.

    Args:
        path: the files, read in order.
        scope: what the data is about, in a few words; recorded in an adapter's manifest.
        corpus: the documents in which quotes are located; read only if a record gives its evidence by a quote.
    """

    def __init__(self, path: Annotated[list[InputFile], Field(min_length=1)], scope: str, corpus: Corpus) -> None:
        self._paths, self.scope, self._evidence = list(path), scope, EvidenceReader(corpus)
        self.removed: Mapping[str, Mapping[str, int]] = {}
        """Always empty: no question of these files is dropped."""

    def questions(self, split: str) -> list[Question]:
        """Returns the questions of one split, in the files' order. Raises EmptySplitError if it has none."""
        found = [question for question in self._questions if question.split == split]
        if not found:
            available = ", ".join(sorted({question.split for question in self._questions})) or "none"
            raise EmptySplitError(
                f"data: no questions in split {split!r} of {', '.join(self._paths)}; available splits: {available}"
            )
        return found

    @cached_property
    def _questions(self) -> list[Question]:
        seen: dict[str, str] = {}
        found = []
        for path in self._paths:
            for number, record in read_jsonl(path, "data"):
                where = f"data: {path}, line {number}"
                question = self._question(record, where)
                if question.id in seen:
                    raise InputError(
                        f"{where}: the id {question.id} is already used in {seen[question.id]}; ids must be unique"
                    )
                seen[question.id] = where.removeprefix("data: ")
                found.append(question)
        return found

    def _question(self, record: dict[str, Any], where: str) -> Question:
        for key in ("id", "question", "answer"):
            if not isinstance(record.get(key), str) or (key != "answer" and not record[key].strip()):
                raise InputError(f"{where}: {key} must be a string" + ("" if key == "answer" else " that is not empty"))
        split = record.get("split", "test")
        if split not in SPLITS:
            raise InputError(f"{where}: split must be one of {', '.join(SPLITS)}, got {split!r}")
        kind = record.get("type")
        if kind is not None and not isinstance(kind, str):
            raise InputError(f"{where}: type must be a string")
        evidence = self._evidence.read(_objects(record, "evidence", where), where)
        return Question(
            id=record["id"],
            question=record["question"].strip(),
            answer=record["answer"].strip(),
            aliases=tuple(_strings(record, "aliases", where)),
            type=kind or ("open" if record["answer"] else "unanswerable"),
            split=split,
            evidence=evidence,
            group=evidence[0].document_id if evidence else record["id"],
        )


def hospital(more_refusals: bool, corpus: Corpus) -> JsonlQuestions:
    """Questions about the synthetic hospital, which ships with cdsframe.

    Args:
        more_refusals: whether the training questions include 130 more that the documents do not answer.
    """
    parts = ["a", "b", "c", *(["refusals"] if more_refusals else [])]
    return JsonlQuestions([f"package:hospital/questions-{part}.jsonl" for part in parts], "synthetic hospital", corpus)


def _objects(record: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    value = record.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"{where}: {key} must be a list of objects")
    return value


def _strings(record: dict[str, Any], key: str, where: str) -> list[str]:
    value = record.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{where}: {key} must be a list of strings")
    return value
