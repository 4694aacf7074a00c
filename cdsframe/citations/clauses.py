"""Splits a sentence into clauses of words, amounts and operators (negations, bounds, frequencies, directions).

Uses no grammar: a clause ends at punctuation or at a conjunction. Does not compare (see
`cdsframe.citations.agreement`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from cdsframe.citations.spelling import spelled_out
from cdsframe.citations.words import BOUNDS, DECISIVE, LIGHT, OPERATORS, SPELLED, VERB, stem
from cdsframe.text.stopwords import FUNCTION_WORDS
from cdsframe.text.tokens import TextToken, read
from cdsframe.text.units import measure

_CLAUSE_END = re.compile(
    r"[;()]|[–—](?!\s?\d)|:(?!\d)|,(?!\s*(?:and\s+|or\s+)?\d)|"
    r"\b(?=(?:when|if|because|but|unless|until|without|except|nor|insteadof|which|who|whom|where|while|whereas|although|"
    r"though|then)\b)"
)


@dataclass(frozen=True, slots=True)
class Part:
    """A word, an amount, or an operator of a clause.

    Attributes:
        kind: "word", "amount", "frequency" or "operator".
        key: equal for equal parts: a word's stem, an amount in its base unit, an operator's name.
        bound: for an amount, the comparison before it ("ge", "gt", "le", "lt"), else "".
        measure: for an amount, its dimension ("mass/volume"); "" for a number without unit.
    """

    kind: str
    key: str
    bound: str = ""
    measure: str = ""


Clause = tuple[Part, ...]


@lru_cache(maxsize=8192)
def clauses(sentence: str) -> tuple[Clause, ...]:
    """Returns the clauses of a sentence.

    A piece with nothing but operators (negations, comparators) joins the next clause; one with nothing but amounts
    joins the previous clause.
    """
    found: list[Clause] = []
    waiting: Clause = ()
    for piece in _CLAUSE_END.split(spelled_out(sentence)):
        parts = _parts(piece)
        if waiting and parts and parts[0].key in DECISIVE and any(part.kind == "amount" for part in waiting):
            # In "not exceed 150 mg without …", "not" negates "exceed" and not the amount.
            found, waiting = [waiting], ()
        parts, waiting = waiting + parts, ()
        kinds = {part.kind for part in parts}
        if kinds == {"operator"} or (not found and "word" not in kinds):
            waiting = parts
        elif found and kinds and "word" not in kinds:
            found[-1] += parts
        elif parts:
            found.append(parts)
    if waiting and found:
        found[-1] += waiting
    elif waiting:
        found.append(waiting)
    return tuple(found)


def fragment(statement: str) -> Literal["", "amount", "phrase"]:
    """Classifies a statement without a verb: "amount" for only an amount ("15 mg twice daily", "bleep 2140"), "phrase"
    for a phrase that begins with an amount, else ""."""
    parts = [part for clause in clauses(statement) for part in clause]
    if not parts or VERB.search(statement):
        return ""
    words = sum(part.kind == "word" for part in parts)
    coded = words <= 2 and all(part.kind == "word" or (part.kind == "amount" and not part.measure) for part in parts)
    if any(part.kind in ("amount", "frequency") for part in parts) and (not words or coded):
        return "amount"
    return "phrase" if parts[0].kind == "amount" or [part.kind for part in parts[:2]] == ["operator", "amount"] else ""


def _parts(piece: str) -> Clause:
    parts: list[Part] = []
    bound = ""
    tokens = _shared_units(read(piece))
    moving = any(OPERATORS.get(token.text) in ("up", "down") for token in tokens)
    for place, token in enumerate(tokens):
        if token.kind == "number":
            times = place + 1 < len(tokens) and tokens[place + 1].text in ("times", "time")
            parts += _amounts(token.text, "times" if times else token.unit, bound, moving)
            bound = ""
            continue
        name = OPERATORS.get(token.text)
        if name in BOUNDS and _number_follows(tokens[place + 1 : place + 4]):
            parts += [Part("operator", bound)] if bound else []
            bound = name
        elif name:
            parts.append(Part("operator", name))
        elif re.fullmatch(r"freq\d+x\d+", token.text):
            parts.append(Part("frequency", token.text))
        elif token.kind == "word" and token.text not in FUNCTION_WORDS | LIGHT and token.text not in ("times", "time"):
            parts.append(Part("word", SPELLED.get(token.text) or stem(token.text)))
    return tuple(parts)


def _number_follows(tokens: Sequence[TextToken]) -> bool:
    """Whether a number comes before any other operator."""
    kinds = ["number" if t.kind == "number" else "operator" if t.text in OPERATORS else "" for t in tokens]
    return next((kind for kind in kinds if kind), "") == "number"


def _amounts(text: str, unit: str, bound: str, moving: bool) -> list[Part]:
    """Converts a number or a range to its base unit, so that "500 mg" and "0.5 g" are equal.

    A change ("reduce from 34 to 28 units", `moving`) has two amounts, not a range.
    """
    kind, factor = ("times", Decimal(1)) if unit == "times" else measure(unit) if unit else ("", Decimal(1))
    values = re.split(r"(?<=\d)-", text)
    if not all(re.fullmatch(r"[+-]?\d+(?:\.\d+)?", value) for value in values):  # a date, a ratio, a power of ten
        return [Part("amount", f"{text} {kind}", bound, kind)]
    sizes = [Decimal(value) * factor for value in values]
    spelled = [format((+size).normalize(), "f") for size in sizes]
    if moving or sizes != sorted(sizes):
        return [Part("amount", f"{one} {kind}", bound, kind) for one in spelled]
    return [Part("amount", f"{'-'.join(spelled)} {kind}", bound, kind)]


def _shared_units(tokens: list[TextToken]) -> list[TextToken]:
    """Gives all numbers of a list the unit after the last one: "15, 30 and 60 minutes"."""
    unit = ""
    for place in range(len(tokens) - 1, -1, -1):
        token = tokens[place]
        if token.kind == "number":
            unit = token.unit or unit
            tokens[place] = replace(token, unit=unit)
        elif token.text not in ("and", "or", "to"):
            unit = ""
    return tokens
