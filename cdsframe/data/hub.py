"""Question-answer pairs of a data set on the Hugging Face hub.

Reads two columns, splits a data set that has only one split, and drops flagged pairs. Ships no data.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.datasets_output import library_output
from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import expanded
from cdsframe.data.cleaning import Flag, flags, without_prefix
from cdsframe.data.splits import USUAL_NAMES, split_of
from cdsframe.data.tables import RowFile, split_in_name, table_files
from cdsframe.errors import EmptySplitError, InputError
from cdsframe.text.shingles import normalised
from cdsframe.types import Question

log = logging.getLogger(__name__)

SmallShare = Annotated[float, Field(ge=0, lt=0.5)]


class Hub:
    """The pairs of a data set on the hub, or of its files in a folder (see `cdsframe.data.tables`).

    A data set with only one split is divided; pairs with equal questions, except for case and punctuation, stay in one
    split. Pairs without a question or an answer are dropped and counted.

    Args:
        path: hub id or folder.
        revision: commit or tag; None: the newest.
        scope: what the data is about, in a few words; recorded in an adapter's manifest.
        question, answer: names of the columns.
        drop: flags (see `cdsframe.data.cleaning`); a pair with any of them is dropped.
        strip_question: True: removes the question from answers that begin by repeating it.
        validation_share, test_share: fractions of the questions, in [0, 0.5), if the data set has only one split.
    """

    def __init__(
        self,
        path: str,
        revision: str | None,
        scope: str,
        question: str,
        answer: str,
        drop: list[Flag],
        strip_question: bool,
        validation_share: SmallShare,
        test_share: SmallShare,
    ) -> None:
        self.scope, self._path, self._revision = scope, path, revision
        self._question, self._answer, self._drop, self._strip = question, answer, set(drop), strip_question
        self._shares = validation_share, test_share

    def questions(self, split: str) -> list[Question]:
        """Returns the pairs of one split. Raises EmptySplitError if it has none."""
        if not (found := self._divided[0].get(split)):
            raise EmptySplitError(f"data: {self._path} has no split {split!r}; it has {', '.join(self._divided[0])}")
        return list(found)

    @property
    def removed(self) -> dict[str, Counter[str]]:
        """Split -> rule -> number of dropped pairs; empty before the data is read."""
        return self._divided[1] if "_divided" in vars(self) else {}

    @cached_property
    def _divided(self) -> tuple[dict[str, list[Question]], dict[str, Counter[str]]]:
        loaded = self._load()
        splits: dict[str, list[Question]] = {}
        removed: dict[str, Counter[str]] = {}
        for given, rows in loaded.items():
            pairs = [(_text(row["question"]), _text(row["answer"])) for row in rows]
            for number, ((asked, answer), flagged) in enumerate(zip(pairs, flags(pairs), strict=True)):
                group = digest(normalised(asked))
                split = split_of(group, *self._shares) if len(loaded) == 1 else USUAL_NAMES.get(given, given)
                reasons: list[str] = sorted(self._drop.intersection(flagged))
                reasons = reasons or ([] if asked and answer else ["empty"])
                removed.setdefault(split, Counter()).update(reasons)
                if reasons:
                    continue
                if self._strip and "q_prefix" in flagged:
                    answer = without_prefix(answer, asked)
                question = Question(f"{given}-{number}", asked, answer, split=split, group=group)
                splits.setdefault(split, []).append(question)
        for split, rules in removed.items():
            log.info("%s %s: %d pairs, dropped: %s", self.scope, split, len(splits.get(split, [])), dict(rules))
        return splits, {split: +rules for split, rules in removed.items()}

    def _load(self) -> dict[str, list[Mapping[str, Any]]]:
        """Returns split -> rows. Raises InputError if the data set cannot be read or lacks a column."""
        columns = {"question": self._question, "answer": self._answer}
        if expanded(self._path).exists():
            found: dict[str, list[Mapping[str, Any]]] = {}
            for file in table_files(self._path):
                rows = [row for _, row in RowFile(file).rows(columns)]
                found.setdefault(split_in_name(file) or "train", []).extend(rows)
            return found
        return {name: self._renamed(name, rows, columns) for name, rows in self._downloaded().items()}

    def _downloaded(self) -> Mapping[str, Any]:
        import datasets

        try:
            with library_output(progress=False):
                loaded: Mapping[str, Any] = datasets.load_dataset(self._path, revision=self._revision)
        except (OSError, ValueError, datasets.exceptions.DatasetsError):
            raise InputError(
                f"data: {self._path} cannot be read; check the id, the network and HF_HUB_OFFLINE, or give a folder "
                "with its files (data.path=FOLDER)"
            ) from None
        return {str(name): rows for name, rows in loaded.items()}

    def _renamed(self, split: str, rows: Any, columns: Mapping[str, str]) -> list[Mapping[str, Any]]:
        if missing := [column for column in columns.values() if column not in rows.column_names]:
            raise InputError(
                f"data: {self._path}, split {split}: no column {', '.join(missing)}; it has "
                f"{', '.join(rows.column_names)}; set data.question and data.answer"
            )
        chosen = rows.select_columns(list(dict.fromkeys(columns.values())))
        return [{name: row[column] for name, column in columns.items()} for row in chosen]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
