"""Whether training questions stand in an evaluation set: normalised exact match, and shared word n-grams.

As in Brown et al. (arXiv 2005.14165, appendix C: 13-grams) and Chowdhery et al. (arXiv 2204.02311: a share of 8-grams).
Reads no passages: documents are what is answered from, in training and in service. Writes ids, never texts.
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
"""More of an evaluation set than this in the training data, and it was given as training data."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One thing that an evaluation asks."""

    id: str
    asked: str
    answer: str
    """Empty where it is not said, or only as a letter: then the question alone is the item."""
    options: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """What a copy would share n-grams with: the question with its options, and the answer."""
        return "\n".join([self.asked, self.options]), self.answer


@dataclass(slots=True)
class Screening:
    """What was found: rows of ids, and counts for a manifest."""

    kept: list[Question]
    rows: list[JsonObject] = field(default_factory=list)
    facts: JsonObject = field(default_factory=dict)


class NoContamination:
    """Nothing is compared."""

    def screen(self, train: Sequence[Question], data: DataSource, folder: Path) -> Screening:
        """All training questions."""
        return Screening(list(train), facts={"checked": False})


class Contamination:
    """Compares training questions with evaluation sets.

    Case, signs and punctuation tell no texts apart (`K+ > 5` is `k < 5`): a match too many costs a question, one too
    few leaks an evaluation. Words are what stands between blanks and punctuation: where a script writes none (Chinese,
    Japanese, Thai), a copy is found as a whole only.

    Args:
        against: files of evaluation questions: JSON Lines of exams, open questions, queries or dialogues; records
            that say that they are for training are passed over.
        folder: a data folder, null: none.
        known: files below it that evaluations use; those that are not there are passed over.
        own_splits: whether the training data's own validation and test questions are compared with, too.
        exact: what must be the same, but for case and punctuation: the question, or the pair of question and answer.
        ngram: words that a shared run has.
        share: of an evaluation text's n-grams that one training question and its answer must have. Texts of fewer than
            two n-grams' words are matched exactly only: in questions made from templates one word makes the difference.
        found: what happens to training questions that are found.
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
        """The training questions that remain; `contamination.jsonl` in the folder lists what was found, by ids.

        Raises InputError where an evaluation set is given as training data, and with `found=refuse` where any is found.
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
        self._tell(len(train), len(bad), sets)
        if bad and self._found == "refuse":
            raise InputError(
                f"contamination: {len(bad)} of {len(train)} training questions stand in evaluation sets, by id in "
                "contamination.jsonl of the run's folder; take them out, or contamination.found=drop"
            )
        dropped = bad if self._found == "drop" else set()
        kept = [question for question in train if question.id not in dropped]
        if not kept:
            raise InputError(
                f"contamination: all {len(train)} training questions stand in evaluation sets ({', '.join(sets)})"
            )
        facts = {"checked": True, "found": len(bad), "dropped": len(train) - len(kept), "sets": sets}
        return Screening(kept, rows, facts | {"ngram": self._ngram, "share": self._share, "exact": self._exact})

    def _tell(self, total: int, found: int, sets: Mapping[str, JsonObject]) -> None:
        by_set = "; ".join(f"{name} {facts['training_questions_found']}" for name, facts in sets.items())
        if found:
            done = {"drop": "are left out", "refuse": "are refused", "list": "are listed and kept"}[self._found]
            log.warning("%d of %d training questions stand in evaluation sets and %s: %s", found, total, done, by_set)
        else:
            log.info("none of %d training questions stands in an evaluation set (%s)", total, ", ".join(sets) or "none")

    def _sets(self, data: DataSource) -> Iterator[tuple[str, list[_Item]]]:
        """The name and the items of each evaluation set."""
        for split in ("validation", "test") if self._own_splits else ():
            try:
                questions = data.questions(split)
            except EmptySplitError:
                continue  # a data set need not have every split
            yield f"own {split}", [_Item(q.id, q.question, q.answer) for q in questions]
        for path, label in _labels(self._against).items():
            records = read_jsonl(path, "contamination")
            items = [item for number, record in records if (item := _item(record, number))]
            if not items:
                raise InputError(f"contamination: {label} holds nothing that an evaluation could ask")
            yield label, items

    def _compare(self, name: str, items: Sequence[_Item], train: Sequence[Question]) -> Iterator[JsonObject]:
        """A row for each training question and each evaluation item that it gives away."""
        asked: dict[str, list[int]] = defaultdict(list)
        grams: dict[int, list[int]] = defaultdict(list)
        sizes: dict[int, int] = {}
        for number, item in enumerate(items):
            if text := normalised(item.asked):  # "???" is no question that another one could repeat
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
        """Item -> the share of the n-grams of its question or answer, the larger one, where it reaches the limit."""
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
    """Each file -> its name; those of one name with the folder that it is in, or else numbered: never a whole path."""
    files = list(dict.fromkeys(resolve(path).resolve() for path in paths))
    labels: dict[Path, str] = {}
    for number, file in enumerate(files, start=1):
        alike = [other for other in files if other.name == file.name]
        told = sum(other.parent.name == file.parent.name for other in alike) == 1
        apart = f"{file.parent.name}/{file.name}" if told else f"{file.name} ({number})"
        labels[file] = apart if len(alike) > 1 else file.name
    return labels


def _refuse_a_whole_set(name: str, items: Sequence[_Item], rows: Sequence[JsonObject]) -> None:
    """Raises InputError where most of an evaluation set, questions and answers, stands in the training data.

    Questions alone can be many without having been given: those that are made from templates are the same elsewhere.
    """
    same = len({row["item"] for row in rows if row["by"] == "pair"})
    most = _MOST_PAIRS if any(item.answer for item in items) else _MOST_QUESTIONS
    if same > max(1, len(items) * most):
        raise InputError(
            f"contamination: {name} is an evaluation set and was given as training data: {same} of its {len(items)} "
            "items stand in it word for word; take it out of the data"
        )


def _item(record: JsonObject, number: int) -> _Item | None:
    """The item of one record; none where it says that it is for training, or holds no text that is asked."""
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
