"""Names a corpus: by configuration, or by its file's or folder's name. An index identifies the corpus by this name.

Does not read files.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated

from pydantic import Field

CorpusName = (
    Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")] | None
)
"""The name of a corpus: an ingest replaces and removes only documents of the corpus with this name. None: the name
of the file or folder, without dates and version numbers."""

_YEAR, _TWO = r"(?:19|20)\d\d", r"[0-3]\d"
_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?)"
)
_TIME = r"(?:[T _.-]*[0-2]\d[-:.h_]?[0-5]\d(?:[-:.m_]?[0-5]\ds?)?Z?)?"
_DATED = re.compile(
    rf"(?<![0-9A-Za-z])(?:"
    rf"{_YEAR}[-_. ]?{_TWO}[-_. ]?{_TWO}{_TIME}"  # 2025-03-14, 20250314T0930
    rf"|{_TWO}[-_. ]{_TWO}[-_. ]{_YEAR}{_TIME}"  # 14.03.2025
    rf"|(?:\d\d?[-_. ]?)?{_MONTH}[-_. ]?{_YEAR}|{_YEAR}[-_. ]?{_MONTH}(?:[-_. ]?\d\d?)?"  # March 2025
    rf"|{_YEAR}[-_. ]?(?:{_TWO}|[qQ][1-4]|[wW]\d\d)|[qQ][1-4][-_. ]?{_YEAR}"  # 2025-03
    rf"|{_YEAR}|1\d{{9}}(?:\d{{3}})?"  # 2025, and seconds since 1970
    rf"|[vV](?:er(?:sion)?)?[-_. ]?\d+(?:\.\d+)*"  # v2, version 1.4
    rf")(?![0-9A-Za-z])"
    rf"|\(\d+\)",  # a browser's second download
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d\d?")
_ONLY_YEAR = re.compile(_YEAR)
_EDGES = " -_.,()[]"
_SUFFIXES = {".gz", ".zip", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".tab"}


def corpus_name(name: str | None, path: str | Path) -> tuple[str, bool]:
    """Returns `(name, derived)`: the configured name and False, or the file's or folder's name without dates and True.

    If a folder's name is only a date, the folder above it gives the name.
    """
    if name is not None:
        return unicodedata.normalize("NFC", name.strip()), False
    return _guessed(path), True


def _guessed(path: str | Path) -> str:
    path = Path(path).absolute()
    for number, part in enumerate([path, *path.parents]):
        stem = _shown(part.name)
        while not number and Path(stem).suffix.lower() in _SUFFIXES:
            stem = stem[: -len(Path(stem).suffix)]
        found = re.sub(r"\s+", " ", _DATED.sub(" ", stem)).strip(_EDGES)
        month = _NUMBER.fullmatch(found) and any(_ONLY_YEAR.fullmatch(above.name) for above in path.parents)
        if found and not month:
            return re.sub(r" *([-_.])[-_. ]*", r"\1", found)
    return _shown(path.name) or "documents"


def _shown(name: str) -> str:
    """Returns a file's name as text, with escapes for invalid UTF-8 and blanks for control characters."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return unicodedata.normalize("NFC", "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text))
