"""Converts exam questions to the columns of the data sets that lm-eval's medical and law tasks read, and back.

Knows no prompt: lm-eval's task definitions make it from these columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cdsframe.errors import InputError
from cdsframe.evaluation.exams.reading import choice_of
from cdsframe.types import Choice, JsonObject

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LABELS = "labels"
"""Column that this project adds to a data set whose prompts show no letters: the letters of the options."""
_NUMBER = 4
"""Options of a question in the data sets whose prompts show letters."""


@dataclass(frozen=True)
class Columns:
    """The columns of a data set of the hub.

    Args:
        names: the data set's names in the column `dataset` of exam files.
        question, answer: columns of the question, and of the number or the text of the right option.
        options: columns of the options' texts; one column: a list of texts. Empty: the options are `words`.
        words: options that are the same for each question, and that the prompt does not show.
        contexts: column with a list of texts that the prompt shows; empty: none.
        subjects: whether its tasks are subjects, which the rows name.
    """

    names: tuple[str, ...]
    question: str
    options: tuple[str, ...]
    answer: str
    words: tuple[str, ...] = ()
    contexts: str = ""
    subjects: bool = False

    def letters(self, doc: JsonObject) -> list[str]:
        """The letters of the options in the exam file, in the order of `texts`."""
        own: list[str] = doc.get(LABELS) or list(LETTERS[: len(self.texts(doc))])
        return own

    def own(self, record: JsonObject) -> bool:
        """Whether a record has the data set's own columns."""
        return {self.question, self.answer, *self.options} <= record.keys()

    def texts(self, doc: JsonObject) -> list[str]:
        """The options of a question, in the order of their letters."""
        if self.words:
            return list(self.words)
        return list(doc[self.options[0]]) if len(self.options) == 1 else [doc[column] for column in self.options]

    def right(self, doc: JsonObject) -> int:
        """The place of the right option."""
        return self.words.index(doc[self.answer]) if self.words else int(doc[self.answer])

    def shifted(self, doc: JsonObject, by: int) -> JsonObject:
        """The question with its options moved cyclically, as `option_positions.shifts` moves them."""
        texts = self.texts(doc)
        return {**doc, **self._options(texts[by:] + texts[:by], (self.right(doc) - by) % len(texts))}

    def document(self, record: JsonObject, where: str, contexts: bool) -> JsonObject:
        """The data set's columns, with `id` and `group`, from a record of an exam file or with these columns.

        Args:
            contexts: whether the prompt shows the question's contexts; False: the column is an empty list.

        Raises InputError, which begins with `where`, if the record cannot be converted.
        """
        if self.words:
            doc = self._worded(record, where)
        elif self.own(record):
            doc = {column: record[column] for column in (self.question, *self.options, self.answer)}
        else:
            choice = _lettered(choice_of(record, where), where, _NUMBER)
            right = list(choice.options).index(choice.answer)
            doc = {self.question: record["question"], **self._options(list(choice.options.values()), right)}
        self._check(doc, where)
        if self.contexts:
            doc[self.contexts] = self._shown(record, where) if contexts else []
        group = record.get("group")
        return {"id": record["id"], "group": "" if group is None else str(group), **doc}

    def _options(self, texts: Sequence[str], right: int) -> JsonObject:
        own = {self.options[0]: list(texts)} if len(self.options) == 1 else dict(zip(self.options, texts, strict=True))
        return {**own, self.answer: right}

    def _worded(self, record: JsonObject, where: str) -> JsonObject:
        """Question and answer of a record whose answer is one of `words`, or the letter of such an option.

        The column `LABELS` keeps the letters of the words, whose order the task decides.
        """
        if "options" not in record:
            question, answer = record.get(self.question, record.get("question")), record.get("answer")
            letters = list(LETTERS[: len(self.words)])
            return {self.question: question, self.answer: record.get(self.answer, answer), LABELS: letters}
        choice = choice_of(record, where)
        if set(choice.options.values()) != set(self.words):
            raise InputError(f"{where}: the options must be {', '.join(self.words)}")
        letter_of = {text: letter for letter, text in _lettered(choice, where, len(self.words)).options.items()}
        answer, letters = choice.options[choice.answer], [letter_of[word] for word in self.words]
        return {self.question: record["question"], self.answer: answer, LABELS: letters}

    def _check(self, doc: JsonObject, where: str) -> None:
        if not isinstance(doc[self.question], str) or not doc[self.question].strip():
            raise InputError(f"{where}: {self.question} must be a non-empty string")
        if self.words:
            if doc[self.answer] not in self.words:
                raise InputError(f"{where}: {self.answer} must be one of {', '.join(self.words)}")
            return
        if len(self.options) == 1 and not isinstance(doc[self.options[0]], list):
            raise InputError(f"{where}: {self.options[0]} must be a list of the options' texts")
        if not all(isinstance(text, str) and text.strip() for text in _four(self.texts(doc), where)):
            raise InputError(f"{where}: every option must be a non-empty string")
        if type(doc[self.answer]) is not int or not 0 <= doc[self.answer] < _NUMBER:
            raise InputError(f"{where}: {self.answer} must be the number of an option, from 0 to {_NUMBER - 1}")

    def _shown(self, record: JsonObject, where: str) -> list[str]:
        """The contexts: of the data set's column, or of `context`, which has texts or objects with `text`."""
        given = record.get(self.contexts, record.get("context"))
        parts = given if isinstance(given, list) else [given]
        given = [part.get("text") if isinstance(part, dict) else part for part in parts]
        texts = [text for text in given if isinstance(text, str) and text.strip()]
        if not texts or len(texts) < len(given):
            raise InputError(
                f"{where}: no context, which the task shows: a text, or a list of texts or of objects with `text`; "
                "evaluation.contexts=false asks without"
            )
        return texts


def _lettered(choice: Choice, where: str, number: int) -> Choice:
    """The question with its options in the order of their letters, which are A, B, … in any order."""
    if len(choice.options) != number:
        raise InputError(f"{where}: {len(choice.options)} options; the task shows {number}: leave out such questions")
    if sorted(choice.options) != list(LETTERS[:number]):
        letters = ", ".join(LETTERS[:number])
        raise InputError(
            f"{where}: the options' labels must be {letters}, which the task shows; rename them in options and answer"
        )
    return replace(choice, options=dict(sorted(choice.options.items())))


def _four(texts: list[str], where: str) -> list[str]:
    if len(texts) != _NUMBER:
        raise InputError(f"{where}: {len(texts)} options; the task shows {_NUMBER}: leave out such questions")
    return texts


COLUMNS = {
    "openlifescienceai/medmcqa": Columns(("medmcqa",), "question", ("opa", "opb", "opc", "opd"), "cop"),
    "GBaker/MedQA-USMLE-4-options-hf": Columns(
        ("medqa", "medqa_4options"), "sent1", ("ending0", "ending1", "ending2", "ending3"), "label"
    ),
    "cais/mmlu": Columns(("mmlu", "mmlu_law"), "question", ("choices",), "answer", subjects=True),
    "bigbio/pubmed_qa": Columns(
        ("pubmedqa", "pubmed_qa"), "QUESTION", (), "final_decision", ("yes", "no", "maybe"), "CONTEXTS"
    ),
}
"""lm-eval's `dataset_path` -> the data set's columns."""


def dataset_of(record: JsonObject) -> str:
    """The data set that a record says or shows it belongs to; empty: it says none."""
    if given := str(record.get("dataset") or ""):
        return given
    if "final_decision" in record:
        return "pubmedqa"
    return next((columns.names[0] for columns in COLUMNS.values() if not columns.words and columns.own(record)), "")


def subject_of(record: JsonObject) -> str:
    """The subject that a record names in `subject` or `meta.subject`; empty: none."""
    meta = record.get("meta")
    return str(record.get("subject") or (meta.get("subject") if isinstance(meta, dict) else "") or "")
