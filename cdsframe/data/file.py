"""Reads questions from your JSON, JSON Lines, CSV, Parquet or Arrow files, by the names of their columns.

Splits are given by a column or by files; otherwise the questions are divided by a seed. Builds no prompts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import resolve
from cdsframe.contracts import Corpus
from cdsframe.data.evidence import EvidenceReader
from cdsframe.data.splits import SPLITS, USUAL_NAMES, split_of
from cdsframe.data.tables import RowFile, split_in_name, table_files
from cdsframe.data.values import evidence_items, identifier, text
from cdsframe.errors import EmptySplitError, InputError, near_miss
from cdsframe.text.shingles import normalised
from cdsframe.types import Question

log = logging.getLogger(__name__)


def _check_paths(paths: str | list[str] | dict[str, str]) -> str | list[str] | dict[str, str]:
    for split in paths if isinstance(paths, dict) else ():
        if split not in SPLITS:
            raise ValueError(f"{split} is not a split; {near_miss(split, SPLITS)}")
    given = _listed(paths)
    if not given:
        raise ValueError("names no file")
    for path in given:
        if not resolve(path).exists():
            raise ValueError(f"no file or folder {path} (paths are relative to the working folder)")
    return paths


def _listed(paths: str | list[str] | dict[str, str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths.values() if isinstance(paths, dict) else paths)


Paths = Annotated[str | list[str] | dict[str, str], AfterValidator(_check_paths)]
Share = Annotated[float, Field(ge=0, lt=0.5)]


class FileQuestions:
    """Questions in rows of files.

    Args:
        path: a file, a folder, a list of them, or a mapping from splits to them.
        scope: what the data is about, in a few words; recorded in an adapter's manifest. None: the first path's name.
        question, answer: names of the columns.
        id: column of the questions' ids; None: the file's name and the row's number.
        type: column of the questions' types; None: `open`, or `unanswerable` if the answer is empty.
        evidence: column of the evidence: a list (or its JSON) of `{document_id, start, end}` or `{document_id, quote}`.
        split: column of the splits; None: splits by file names, or, if these name no two splits, a seeded division.
        group: rows with equal values in this column stay in one split; None: rows with the same evidence document, or
            the same question, do.
        empty_answers: `drop` drops rows without an answer; `unanswerable` keeps them, to teach the refusal.
        validation_share, test_share: fractions of the groups, in [0, 0.5), if the questions are divided.
        split_seed: seed of the division; another seed gives other test questions.
        corpus: the documents in which quotes are located; read only if evidence is given by quotes.
    """

    evidence_key = "evidence"
    """Name of the argument that is None if the questions have no evidence, for the configuration check."""

    def __init__(
        self,
        path: Paths,
        scope: str | None,
        question: str,
        answer: str,
        id: str | None,
        type: str | None,
        evidence: str | None,
        split: str | None,
        group: str | None,
        empty_answers: Literal["drop", "unanswerable"],
        validation_share: Share,
        test_share: Share,
        split_seed: Annotated[int, Field(ge=0)],
        corpus: Corpus,
    ) -> None:
        self._paths, self._drop, self._seed = path, empty_answers == "drop", split_seed
        self.scope = scope or resolve(_listed(path)[0]).resolve().name.partition(".")[0]
        columns = {"question": question, "answer": answer, "id": id, "type": type, "evidence": evidence}
        columns |= {"split": split, "group": group}
        self._columns = {name: column for name, column in columns.items() if column is not None}
        self._shares, self._evidence = (validation_share, test_share), EvidenceReader(corpus)

    @staticmethod
    def problems(path: str | list[str] | dict[str, str], split: str | None) -> list[str]:
        """Returns the problems of the options: `split` together with a mapping from splits to files."""
        both = isinstance(path, dict) and split is not None
        return ["data.path maps splits to files, and data.split names a column; give one of them"] if both else []

    def questions(self, split: str) -> list[Question]:
        """Returns the questions of one split, in the files' order. Raises EmptySplitError if it has none."""
        found = [question for question in self._read[0] if question.split == split]
        if not found:
            available = ", ".join(sorted({question.split for question in self._read[0]})) or "none"
            divided = "split" not in self._columns and not isinstance(self._paths, dict)
            fix = "raise data.validation_share and data.test_share, or " if divided else ""
            raise EmptySplitError(
                f"data: no questions in split {split!r} of {', '.join(_listed(self._paths))}; available splits: "
                f"{available}; {fix}name the files of each split ('data.path={{train: FILE, {split}: FILE}}') or a "
                "column (data.split=COLUMN)"
            )
        return found

    @property
    def removed(self) -> Mapping[str, Mapping[str, int]]:
        """Split -> rule -> number of dropped rows; empty before the data is read."""
        return self._read[1] if "_read" in vars(self) else {}

    @cached_property
    def _read(self) -> tuple[list[Question], dict[str, Counter[str]]]:
        seen: dict[str, str] = {}
        found: list[Question] = []
        removed: dict[str, Counter[str]] = {}
        for name, file, given in self._files():
            table = RowFile(file)
            for number, (where, row) in enumerate(table.rows(self._columns), start=1):
                question = self._question(row, where, f"{name}-{number}", given)
                if place := seen.get(question.id):
                    raise InputError(f"{where}: its id is already used in {place}; ids must be unique")
                seen[question.id] = where.removeprefix("data: ")
                if question.question and (question.answer or not self._drop):
                    found.append(question)
                else:
                    removed.setdefault(question.split, Counter())["empty"] += 1
            if given is None and "split" not in self._columns and "split" in table.columns:
                log.warning("data: %s has a column split that is not used; set data.split=split to use it", file)
        sizes = Counter(question.split for question in found)
        dropped = {split: dict(rules) for split, rules in removed.items()}
        log.info(
            "%s: questions by split: %s; dropped, by split and reason: %s", self.scope, dict(sizes), dropped or "none"
        )
        return found, removed

    def _files(self) -> list[tuple[str, Path, str | None]]:
        """Returns each file's name in ids, its path and its split; split None: its questions are divided."""
        if isinstance(self._paths, dict):
            files: list[tuple[Path, str | None]] = [
                (file, split) for split, path in self._paths.items() for file in table_files(str(resolve(path)))
            ]
        else:
            paths = [file for path in _listed(self._paths) for file in table_files(str(resolve(path)))]
            named = [split_in_name(file) for file in paths]
            several = len(set(named) - {None}) > 1 and "split" not in self._columns
            if several and None in named:
                raise InputError(
                    f"data: {paths[named.index(None)]} has no split in its name, but other files have; give "
                    "'data.path={train: FILE, validation: FILE, test: FILE}', or data.split=COLUMN"
                )
            files = [(file, split if several else None) for file, split in zip(paths, named, strict=True)]
        stems = [file.name.partition(".")[0] for file, _ in files]
        names = [s if stems.count(s) == 1 else f"{n}-{s}" for n, s in enumerate(stems, start=1)]
        return [(name, file, split) for name, (file, split) in zip(names, files, strict=True)]

    def _question(self, row: Mapping[str, Any], where: str, number: str, given: str | None) -> Question:
        asked, answer = (text(row[name], self._columns[name], where) for name in ("question", "answer"))
        kind = text(row["type"], self._columns["type"], where) if "type" in row else ""
        evidence = self._evidence.read(evidence_items(row.get("evidence"), where), where)
        own = identifier(row["group"], self._columns["group"], where) if "group" in row else ""
        group = own or (evidence[0].document_id if evidence else digest(normalised(asked)))
        if "id" in row and not (number := identifier(row["id"], self._columns["id"], where)):
            raise InputError(f"{where}: the id is empty")
        return Question(
            id=number,
            question=asked,
            answer=answer,
            type=kind or ("open" if answer else "unanswerable"),
            split=given or self._split(row, group, where),
            evidence=evidence,
            group=group,
        )

    def _split(self, row: Mapping[str, Any], group: str, where: str) -> str:
        if "split" not in row:
            return split_of(f"{self._seed}|{group}", *self._shares)
        column = self._columns["split"]
        if split := USUAL_NAMES.get(text(row["split"], column, where).lower()):
            return split
        known: Sequence[str] = list(USUAL_NAMES)
        raise InputError(f"{where}: column {column} must hold a split ({', '.join(known)}), and holds another word")
