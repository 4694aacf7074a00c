"""Finds training questions that occur in an evaluation set, by normalised exact match and shared word n-grams.

As in Brown et al. (arXiv 2005.14165, appendix C: 13-grams) and Chowdhery et al. (arXiv 2204.02311: a share of 8-grams).
Does not compare passages: training and evaluation use the same documents. Writes ids, never texts.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cdsframe.artifacts.files import InputFile, read_jsonl, resolve, write_jsonl
from cdsframe.contracts import DataSource
from cdsframe.errors import EmptySplitError, InputError
from cdsframe.text.shingles import normalised, shingles, words
from cdsframe.types import JsonObject, Question

log = logging.getLogger(__name__)

_ASKED = ("question", "dialogue", "text")
_ANSWERS = ("answer", "long_answer", "note", "section_text")
_NOT_EVALUATION = ("train", "dev5shot")
_MOST_PAIRS, _MOST_QUESTIONS = 0.5, 0.8
"""If the training data have more than this share of a set's pairs (of its questions, for a set without answers), the
evaluation set itself was given as training data."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One item of an evaluation set."""

    id: str
    asked: str
    answer: str
    """Empty if the record has no answer text (or only an option's letter): then only the question is compared."""
    options: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """The texts whose n-grams are compared: the question with its options, and the answer."""
        return "\n".join([self.asked, self.options]), self.answer


@dataclass(slots=True)
class Screening:
    """The training questions that are kept, the matches (`rows`, ids only), and counts for a manifest (`facts`)."""

    kept: list[Question]
    rows: list[JsonObject] = field(default_factory=list)
    facts: JsonObject = field(default_factory=dict)


class NoContamination:
    """Compares nothing."""

    def screen(self, train: Sequence[Question], data: DataSource, folder: Path) -> Screening:
        """Keeps all training questions."""
        return Screening(list(train), facts={"checked": False})


class Contamination:
    """Compares training questions with evaluation sets.

    Ignores case, signs and punctuation (`K+ > 5` equals `k < 5`): a false match loses one question, a missed match
    leaks an evaluation item. Words are separated by blanks and punctuation, so in scripts without spaces (Chinese,
    Japanese, Thai) only exact copies are found.

    Args:
        against: JSON Lines files of evaluation items (exams, questions, queries, dialogues); records whose split is a
            training split are skipped.
        folder: a data folder; null: `known` is ignored.
        known: evaluation files within `folder`; missing files are skipped.
        own_splits: whether to compare also with the validation and test questions of the training data.
        exact: what must be equal for an exact match, except for case and punctuation: `question`: the questions;
            `pair`: the questions and, if the evaluation item has one, the answers.
        ngram: length of an n-gram, in words.
        share: share of an evaluation text's n-grams, in (0, 1], that one training question and its answer must contain
            for a match. Texts of fewer than 2 * `ngram` words are only compared exactly: questions from templates
            differ by one word.
        found: what to do with matching training questions: `drop` them, `refuse` to train, or `list` them only.
    """

    def __init__(
        self,
        against: list[InputFile],
        folder: str | None,
        known: list[str],
        own_splits: bool,
        exact: Literal["question", "pair"],
        ngram: Annotated[int, Field(ge=4, le=50)],
        share: Annotated[float, Field(gt=0, le=1)],
        found: Literal["drop", "refuse", "list"],
    ) -> None:
        self._against, self._own_splits, self._exact = list(against), own_splits, exact
        self._ngram, self._share, self._found = ngram, share, found
        self._against += [f"{folder}/{name}" for name in known if folder and (resolve(folder) / name).is_file()]

    def screen(self, train: Sequence[Question], data: DataSource, folder: Path) -> Screening:
        """Returns the kept training questions; writes the matches' ids into `contamination.jsonl` in the folder.

        Raises InputError if an evaluation set was given as training data, and with `found=refuse` for any match.
        """
        rows: list[JsonObject] = []
        sets: dict[str, JsonObject] = {}
        for name, items in self._sets(data):
            found = list(self._compare(name, items, train))
            _refuse_a_whole_set(name, items, found)
            rows += found
            sets[name] = {
                "items": len(items),
                "items_found": len({row["item"] for row in found}),
                "training_questions_found": len({row["id"] for row in found}),
            }
        write_jsonl(folder / "contamination.jsonl", rows)
        bad = {row["id"] for row in rows}
        self._log_result(len(train), len(bad), sets)
        if bad and self._found == "refuse":
            raise InputError(
                f"contamination: {len(bad)} of {len(train)} training questions occur in evaluation sets (their ids are "
                "in contamination.jsonl in the run's folder); remove them, or give contamination.found=drop"
            )
        dropped = bad if self._found == "drop" else set()
        kept = [question for question in train if question.id not in dropped]
        if not kept:
            raise InputError(
                f"contamination: all {len(train)} training questions occur in evaluation sets ({', '.join(sets)}); use "
                "other training data"
            )
        facts = {"checked": True, "found": len(bad), "dropped": len(train) - len(kept), "sets": sets}
        return Screening(kept, rows, facts | {"ngram": self._ngram, "share": self._share, "exact": self._exact})

    def _log_result(self, total: int, found: int, sets: Mapping[str, JsonObject]) -> None:
        by_set = "; ".join(f"{name} {facts['training_questions_found']}" for name, facts in sets.items())
        if found:
            done = {"drop": "are dropped", "refuse": "are refused", "list": "are listed and kept"}[self._found]
            log.warning("%d of %d training questions occur in evaluation sets and %s: %s", found, total, done, by_set)
        else:
            log.info("none of %d training questions occurs in an evaluation set (%s)", total, ", ".join(sets) or "none")

    def _sets(self, data: DataSource) -> Iterator[tuple[str, list[_Item]]]:
        """Yields the name and the items of each evaluation set."""
        for split in ("validation", "test") if self._own_splits else ():
            try:
                questions = data.questions(split)
            except EmptySplitError:
                continue  # a data set may lack a split
            yield f"own {split}", [_Item(q.id, q.question, q.answer) for q in questions]
        for path, label in _labels(self._against).items():
            records = read_jsonl(path, "contamination")
            items = [item for number, record in records if (item := _item(record, number))]
            if not items:
                raise InputError(
                    f"contamination: {label} has no evaluation items; expected records with one of the keys "
                    f"{', '.join(_ASKED)}"
                )
            yield label, items

    def _compare(self, name: str, items: Sequence[_Item], train: Sequence[Question]) -> Iterator[JsonObject]:
        """Yields a row for each pair of a training question and an evaluation item that match."""
        asked: dict[str, list[int]] = defaultdict(list)
        grams: dict[int, list[int]] = defaultdict(list)
        sizes: dict[int, int] = {}
        for number, item in enumerate(items):
            if text := normalised(item.asked):  # a text without words ("???") matches nothing
                asked[text].append(number)
            for place, text in enumerate(item.texts):
                listed = words(text)
                own = shingles(listed, self._ngram) if len(listed) >= 2 * self._ngram else set()
                sizes[2 * number + place] = len(own)
                for gram in own:
                    grams[gram].append(2 * number + place)
        for question in train:
            row = {"id": question.id, "set": name}
            same = set()
            for number in asked.get(normalised(question.question), ()):
                item = items[number]
                pair = not item.answer or normalised(item.answer) == normalised(question.answer)
                if pair or self._exact == "question":
                    same.add(number)
                    yield {**row, "item": item.id, "by": "pair" if pair else "question", "share": 1.0}
            shared = self._shared(question, grams, sizes)
            for number in sorted(shared.keys() - same):
                yield {**row, "item": items[number].id, "by": "ngram", "share": round(shared[number], 3)}

    def _shared(self, question: Question, grams: Mapping[int, list[int]], sizes: Mapping[int, int]) -> dict[int, float]:
        """Returns item index -> share of the item's n-grams that the training question and its answer contain.

        Omits items below `share`. Of an item's two texts (question with options, answer), the larger share counts.
        """
        counts: dict[int, int] = defaultdict(int)
        own = shingles(words(question.question), self._ngram) | shingles(words(question.answer), self._ngram)
        for gram in own:
            for text in grams.get(gram, ()):
                counts[text] += 1
        found: dict[int, float] = {}
        for text, count in counts.items():
            if count >= self._share * sizes[text]:
                found[text // 2] = max(found.get(text // 2, 0.0), count / sizes[text])
        return found


def _labels(paths: Sequence[str]) -> dict[Path, str]:
    """Returns file -> label: its name; if names repeat, with the parent folder or a number. Never a full path."""
    files = list(dict.fromkeys(resolve(path).resolve() for path in paths))
    labels: dict[Path, str] = {}
    for number, file in enumerate(files, start=1):
        alike = [other for other in files if other.name == file.name]
        parent_is_unique = sum(other.parent.name == file.parent.name for other in alike) == 1
        unique = f"{file.parent.name}/{file.name}" if parent_is_unique else f"{file.name} ({number})"
        labels[file] = unique if len(alike) > 1 else file.name
    return labels


def _refuse_a_whole_set(name: str, items: Sequence[_Item], rows: Sequence[JsonObject]) -> None:
    """Raises InputError if most items of an evaluation set, question and answer, occur in the training data.

    Equal questions alone do not count: questions from templates occur in many data sets.
    """
    same = len({row["item"] for row in rows if row["by"] == "pair"})
    most = _MOST_PAIRS if any(item.answer for item in items) else _MOST_QUESTIONS
    if same > max(1, len(items) * most):
        raise InputError(
            f"contamination: the evaluation set {name} was given as training data: {same} of its {len(items)} items "
            "occur in the training data word for word; remove it from the data"
        )


def _item(record: JsonObject, number: int) -> _Item | None:
    """Returns a record's item; None if its split is a training split, or if it has no question."""
    if record.get("split") in _NOT_EVALUATION:
        return None
    asked, answer = _first(record, _ASKED), _first(record, _ANSWERS)
    options = record.get("options")
    if not asked:
        return None
    id_ = str(next((record[key] for key in ("id", "query_id") if record.get(key) not in (None, "")), number))
    if isinstance(options, dict):
        return _Item(id_, asked, "", "\n".join(map(str, options.values())))
    return _Item(id_, asked, answer)


def _first(record: JsonObject, keys: Sequence[str]) -> str:
    texts: Iterator[Any] = (record.get(key) for key in keys)
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")
