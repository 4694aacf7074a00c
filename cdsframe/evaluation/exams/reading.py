"""Reads exams (questions with options) from JSON Lines and removes questions with two equal options.

Does not run a model.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field

from cdsframe.artifacts.files import InputFile, read_jsonl
from cdsframe.errors import InputError, named
from cdsframe.types import Choice, JsonObject

log = logging.getLogger(__name__)

_KEEPS_ITS_MEANING = ("<super>", "<sub>", "<fraction>")
"""Unicode decompositions that would change the meaning: 10⁹ is not 109."""
_SIGNS = {ord(dash): "-" for dash in "‐‑‒–—―−﹣"} | {ord(quote): "'" for quote in "‘’‚‛"}
_SIGNS |= {ord(quote): '"' for quote in "“”„‟"}
_PAIRS = re.compile(r"(?:([a-z])\1)+")
"""A genotype (AaBb) in lower case; the case of its letters carries meaning."""


def listed(value: object) -> object:
    """A list of the value if it is a text; else the value."""
    return [value] if isinstance(value, str) else value


ExamFiles = Annotated[list[InputFile], Field(min_length=1), BeforeValidator(listed)]
"""One file, or a list of files."""


def read_exam(paths: Sequence[str]) -> list[Choice]:
    """Reads questions with options from JSON Lines. Raises InputError with the line of an invalid record."""
    return [choice_of(record, where) for where, record in read_records(paths)]


def read_records(paths: Sequence[str]) -> list[tuple[str, JsonObject]]:
    """Reads JSON Lines: the place of each record, for messages, and the record.

    Raises InputError with the line of a record without an id or with an id that occurs before, and if there is none.
    """
    found: dict[str, tuple[str, JsonObject]] = {}
    for path in paths:
        for number, record in read_jsonl(path, "evaluation.path"):
            where, id = f"evaluation.path: {path}, line {number}", record.get("id")
            if not isinstance(id, str) or not id.strip():
                raise InputError(f"{where}: id must be a non-empty string")
            if id in found:
                raise InputError(f"{where}: the id {named(id)} occurs twice; ids must be unique over all files")
            found[id] = where, record
    if not found:
        raise InputError(f"evaluation.path: {', '.join(paths)}: no questions found; expected one JSON object per line")
    return list(found.values())


def choice_of(record: JsonObject, where: str) -> Choice:
    """The question with options of a record that has an id. Raises InputError, which begins with `where`."""
    if not isinstance(record.get("question"), str) or not record["question"].strip():
        raise InputError(f"{where}: question must be a non-empty string")
    options = record.get("options")
    if not isinstance(options, dict) or len(options) < 2:
        raise InputError(f'{where}: options must be an object with at least two entries, like {{"A": "…", "B": "…"}}')
    if not all(isinstance(text, str) and text.strip() for text in options.values()):
        raise InputError(f"{where}: every option must be a non-empty string")
    if len({label.strip() for label in options} - {""}) < len(options):
        raise InputError(f"{where}: the options' labels must differ and not be empty; give each a different letter")
    if record.get("answer") not in options:
        raise InputError(f"{where}: answer must be the label of an option ({', '.join(options)})")
    dataset, group = (record.get(key) for key in ("dataset", "group"))
    if group is not None and not isinstance(group, str | int):
        raise InputError(f"{where}: group must be a text or a number; questions that are not independent share it")
    return Choice(
        record["id"],
        record["question"].strip(),
        options,
        record["answer"],
        str(dataset or ""),
        "" if group is None else str(group),
    )


def distinguishable(choices: Sequence[Choice]) -> list[Choice]:
    """Returns the questions whose options all differ and warns about the others. Raises InputError if none remains."""
    found = [choice for choice in choices if len(set(map(same_form, choice.options.values()))) == len(choice.options)]
    if len(found) < len(choices):
        left_out = len(choices) - len(found)
        log.warning("%d of %d questions have two equal options and are left out (mcq/left_out)", left_out, len(choices))
    if not found:
        raise InputError(
            "evaluation.path: every question has two equal options, so that no score can decide; correct the options"
        )
    return found


def same_form(text: str) -> str:
    """A normal form that is equal for options of equal meaning.

    Ignores white space, invisible characters, kinds of dashes and quotation marks, compatibility characters (ﬁ, µ), a
    final full stop, and the case of words of three letters or more. Keeps superscripts, the case of shorter words and
    of words of mixed case (mg and Mg, PaO2 and PAO2), and of genotypes (AABB).
    """
    characters = (
        one if unicodedata.decomposition(one).startswith(_KEEPS_ITS_MEANING) else unicodedata.normalize("NFKC", one)
        for one in text
        if unicodedata.category(one) != "Cf"
    )
    text = unicodedata.normalize("NFC", "".join(characters).translate(_SIGNS))
    return re.sub(r"[^\W\d_]+", _without_case, " ".join(text.split())).rstrip(".; ")


def _without_case(word: re.Match[str]) -> str:
    letters, folded = word[0], word[0].casefold()
    regular = letters in (letters.lower(), letters.upper(), letters.capitalize())
    return folded if regular and len(letters) > 2 and not _PAIRS.fullmatch(folded) else letters
