"""Expands abbreviations, and abbreviates full forms, by a list: "MI (myocardial infarction)".

The packaged list was made for this project. It has common abbreviations of English clinical notes and is far from
complete. Abbreviations are not disambiguated: all listed meanings are added.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

from cdsframe.artifacts.files import InputFile, require_file
from cdsframe.contracts import Retriever
from cdsframe.errors import InputError
from cdsframe.expansion.base import Expanding
from cdsframe.text.search_form import search_form
from cdsframe.types import Filter, Query


class Abbreviations(Expanding):
    """Adds the counterparts of each listed abbreviation or meaning in parentheses after it, for BM25 and for vectors.

    Args:
        path: tab-separated lines of abbreviation and meaning. An abbreviation matches in the letter case of the list,
            or in upper and lower case if a third column says `any`; a meaning matches in upper and lower case. Lines
            that begin with # are ignored.
        retriever: searches the expanded question.
    """

    adds_words = adds_vectors = True

    def __init__(self, path: InputFile, retriever: Retriever) -> None:
        super().__init__(retriever)
        self._path = path

    def expand(self, queries: Sequence[Query], filter: Filter) -> list[Query]:
        return [
            Query(query.text, self.write_out(query.words), self.write_out(query.meaning), query.passages)
            for query in queries
        ]

    def write_out(self, text: str) -> str:
        """The text with the counterparts of its listed forms, each added once unless the text has it already."""
        pattern, others = self._forms
        text = search_form(text)
        added: set[str] = set()
        present = text.casefold()

        def add(found: re.Match[str]) -> str:
            form = found[0] if found[0] in others else found[0].casefold()
            fresh = [other for other in others.get(form, ()) if not _stands_in(other, present) and other not in added]
            added.update(fresh)
            return f"{found[0]} ({', '.join(fresh)})" if fresh else found[0]

        return pattern.sub(add, text)

    @cached_property
    def _forms(self) -> tuple[re.Pattern[str], Mapping[str, Sequence[str]]]:
        """Returns (pattern that matches every form, longer forms first; form -> its counterparts). Keys of forms that
        match in upper and lower case are case-folded."""
        others: defaultdict[str, list[str]] = defaultdict(list)
        exact: set[str] = set()
        folded: set[str] = set()
        for abbreviation, meaning, any_case in self._lines():
            form = abbreviation.casefold() if any_case else abbreviation
            others[form].append(meaning)
            others[meaning.casefold()].append(abbreviation)
            (folded if any_case else exact).add(form)
            folded.add(meaning.casefold())
        parts = [_either(exact), f"(?i:{_either(folded)})"] if exact else [f"(?i:{_either(folded)})"]
        return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)"), others

    def _lines(self) -> list[tuple[str, str, bool]]:
        found = []
        path = require_file(self._path, "expansion.path")
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"expansion.path: {self._path} is not UTF-8 text") from None
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            cells = [" ".join(search_form(cell).split()) for cell in line.split("\t")]
            if len(cells) not in (2, 3) or not all(cells[:2]) or cells[2:] not in ([], [""], ["any"]):
                raise InputError(
                    f"expansion.path: {self._path}, line {number}: expected abbreviation, tab, meaning, and "
                    "optionally a tab and `any`"
                )
            found.append((cells[0], cells[1], cells[2:] == ["any"]))
        if not found:
            raise InputError(
                f"expansion.path: {self._path} contains no abbreviations; add lines of abbreviation, tab, meaning"
            )
        return found


def _either(forms: set[str]) -> str:
    return "|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form)))


def _stands_in(form: str, folded: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(form.casefold())}(?!\w)", folded) is not None
