"""Compares a statement with a few neighbouring sentences: the share of its words that they contain, and contradictions.

Lexical: two sentences contradict if polarity, bounds, frequencies or amounts differ. Does not judge entailment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from cdsframe.citations.clauses import Clause, Part
from cdsframe.citations.words import DECISIVE, RELATIONS, TURNING

_QUOTED = "quoted"
"""Measure of the amounts added by `_with_parts`, so that they do not count as second amounts of a real measure."""
_EXCEPTION = "except"
_NEAR = 3
"""Number of parts on each side of an operator that it may modify."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Result of comparing a statement with a text.

    Attributes:
        share: share of the statement's words and amounts that the text contains, in [0, 1].
        contradicted: an amount, a bound, a frequency or the polarity differs.
    """

    share: float
    contradicted: bool


def compare(
    statement: Sequence[Clause],
    text: Sequence[Sequence[Clause]],
    known: Collection[str],
    elsewhere: Collection[str],
    form: Literal["", "amount", "phrase"],
) -> Agreement:
    """Compares a statement's clauses with the clauses of some sentences.

    Args:
        known: words of the passage's title and heading, which the prompt shows. A word of the statement is not counted
            if it is one of them and the text lacks it.
        elsewhere: words of the whole passage. A clause that combines an amount with a word from another sentence
            contradicts the text.
        form: kind of a statement without a verb: an amount ("amount") or a phrase that begins with an amount
            ("phrase"); "" for other statements. Both kinds may omit the text's negation, which halves the share;
            "amount" may also omit the bound.
    """
    parts = [part for clause in statement for part in clause]
    counted = [part for part in parts if part.kind != "operator"]
    if not counted or not text:
        return Agreement(0.0, contradicted=False)
    fragment = form == "amount"
    if fragment:
        text = [[_with_parts(clause) for clause in sentence] for sentence in text]
    matched = [_match(clause, text, known) for clause in statement]
    held = sum(found.held for found in matched)
    total = len(counted) - sum(found.ignored for found in matched)
    groups = list(_joined(statement, matched))
    wrong = any(_contradicts(stated, found, bool(form)) for stated, found in groups)
    wrong = wrong or any(
        not _amounts_agree(clause, found, fragment)
        or _borrows(clause, found, known, elsewhere)
        or (not fragment and _from_another_clause(clause, found))
        for clause, found in zip(statement, matched, strict=True)
    )
    share = held / total if total else 0.0
    if form:
        incomplete = _count(statement, TURNING) != _count((one for _, found in groups for one in found), TURNING)
    else:
        incomplete = any(_leaves_exception_out(statement, found) for found in matched)
    return Agreement(share / 2 if incomplete else share, wrong or not held)


def _leaves_exception_out(statement: Sequence[Clause], found: _Match) -> bool:
    """Whether an exception ("unless the pulse is below 50") follows in the text and the statement has none."""
    if any(part.kind == "operator" and part.key == _EXCEPTION for clause in statement for part in clause):
        return False
    behind = (found.sentence[number + 1] for number in found.clauses if number + 1 < len(found.sentence))
    return any(clause[:1] == (Part("operator", _EXCEPTION),) for clause in behind)


def _count(clauses: Iterable[Clause], names: Collection[str]) -> int:
    return sum(part.kind == "operator" and part.key in names for clause in clauses for part in clause)


@dataclass(frozen=True, slots=True)
class _Match:
    """The sentence that matches a statement's clause best.

    Attributes:
        clauses: indices of the sentence's clauses that contain words of the statement's clause.
        place: index of the sentence in the text.
        held: number of words and amounts of the statement's clause that the sentence contains.
        ignored: number of words that are not counted, since only the title or heading contains them.
    """

    sentence: Sequence[Clause]
    clauses: tuple[int, ...]
    place: int
    held: int
    ignored: int


def _match(clause: Clause, text: Sequence[Sequence[Clause]], known: Collection[str]) -> _Match:
    """Finds the sentence with most words of the clause, and in it the clauses that contain these words."""
    return max(
        (_match_in(clause, sentence, place, known) for place, sentence in enumerate(text)),
        key=lambda found: (found.held, -len(found.clauses), -found.place),
    )


def _match_in(clause: Clause, sentence: Sequence[Clause], place: int, known: Collection[str]) -> _Match:
    wanted = {part.key for part in clause if part.kind != "operator"}
    operators = Counter(part.key for part in clause if part.kind == "operator")

    def worth(number: int) -> tuple[int, int, int]:
        own = Counter(part.key for part in sentence[number] if part.kind == "operator")
        differing = sum(((own - operators) + (operators - own)).values())
        return len(wanted & {part.key for part in sentence[number]}), -differing, -number

    order = sorted(range(len(sentence)), key=worth, reverse=True)
    chosen, found = list[int](), set[str]()
    for number in order:
        new = (wanted & {part.key for part in sentence[number]}) - found
        if new or not chosen:
            chosen.append(number)
            found |= new
    counted = [part for part in clause if part.kind != "operator"]
    held = sum(part.key in found for part in counted)
    ignored = sum(part.kind == "word" and part.key in known and part.key not in found for part in counted)
    return _Match(sentence, tuple(chosen), place, held, ignored)


def _joined(statement: Sequence[Clause], matched: Sequence[_Match]) -> Iterator[tuple[list[Clause], list[Clause]]]:
    """Groups the statement's clauses that share a clause of the text.

    Yields `(clauses of the statement, clauses of the text)` for each group.
    """
    groups: list[tuple[set[tuple[int, int]], list[Clause]]] = []
    where = {(found.place, number): found.sentence[number] for found in matched for number in found.clauses}
    for clause, found in zip(statement, matched, strict=True):
        places, stated = {(found.place, number) for number in found.clauses}, [clause]
        for other in [group for group in groups if group[0] & places]:
            groups.remove(other)
            places, stated = places | other[0], other[1] + stated
        groups.append((places, stated))
    for places, stated in groups:
        yield stated, [where[place] for place in sorted(places)]


def _contradicts(stated: list[Clause], found: list[Clause], fragment: bool) -> bool:
    """Whether the operators of the statement's and the text's clauses of a group differ."""
    ours, theirs = list(_operators(stated)), list(_operators(found))
    for name in {operator for operator, _, _ in ours} | {operator for operator, _, _ in theirs if operator in DECISIVE}:
        own = [sides for operator, *sides in ours if operator == name]
        other = [sides for operator, *sides in theirs if operator == name]
        if name in DECISIVE and len(own) != len(other) and not fragment:
            return True
        for sides in own:
            partner = next((one for one in other if _alike(sides, one)), None)
            if partner is None:
                return True
            other.remove(partner)
    if fragment:
        return False
    words = {part.key for clause in stated for part in clause if part.kind != "operator"}
    kept = Counter(operator for operator, _, _ in ours)
    for name, left, right in theirs:
        if name not in RELATIONS or not left or not right:
            continue
        if left[0] in words and right[0] in words and not kept[name]:
            return True
    return False


def _operators(clauses: Sequence[Clause]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields each operator with the keys of the parts on its left and right, the nearest first."""
    for clause in clauses:
        for place, part in enumerate(clause):
            if part.kind == "operator":
                left = [one.key for one in clause[:place][::-1] if one.kind != "operator"]
                right = [one.key for one in clause[place + 1 :] if one.kind != "operator"]
                yield part.key, left[:_NEAR], right[:_NEAR]


def _alike(ours: Sequence[list[str]], theirs: Sequence[list[str]]) -> bool:
    """Whether two operators modify the same part: the next part on the right or, if none, any part beside them."""
    (left, right), (other_left, other_right) = ours, theirs
    if right and other_right:
        return right[0] in other_right or other_right[0] in right
    around = {*left, *right}
    return not around or bool(around & {*other_left, *other_right})


def _amounts_agree(clause: Clause, found: _Match, fragment: bool) -> bool:
    """Whether the matched text has each amount and frequency of a clause, with the same bound and neighbours."""
    kinds = ("amount", "frequency")
    rest = [one for number in found.clauses for one in _placed(found.sentence[number]) if one[1].kind in kinds]
    rivals = {(one.measure, one.key) for _, one in rest}
    for (before, after), part in _placed(clause):
        if part.kind not in kinds:
            continue
        alike = [one for one in rest if _covers(one[1], part, fragment)]
        if sum(measure == part.measure for measure, _ in rivals) > 1:
            alike = [one for one in alike if before in (None, one[0][0]) and after in (None, one[0][1])]
        if not alike:
            return False
        rest.remove(alike[0])
    return fragment or _frequencies_kept(clause, found)


def _borrows(clause: Clause, found: _Match, known: Collection[str], elsewhere: Collection[str]) -> bool:
    """Whether a clause with an amount takes its subject from another sentence or from the title.

    "Methotrexate 5 mg" is not supported by "Folic acid 5 mg" below the title "Methotrexate".
    """
    if all(part.kind in ("word", "operator") for part in clause):
        return False
    here = {part.key for one in found.sentence for part in one}
    added = {part.key for part in clause if part.kind == "word"} - here
    if added & set(elsewhere):
        return True
    keys = {part.key for part in clause}
    return bool(added & set(known)) and any(
        part.kind not in ("word", "operator") and part.key in keys and before.kind == "word" and before.key not in keys
        for one in found.sentence
        for before, part in pairwise(one)
    )


def _from_another_clause(clause: Clause, found: _Match) -> bool:
    """Whether the text has the amount in one clause, and the statement's words in a clause with another amount.

    "Children get 10 mg" is not supported by "children get 5 mg, those over 12 get 10 mg".
    """
    words = {part.key for part in clause if part.kind == "word"}
    amounts = {part.key: part.measure for part in clause if part.kind == "amount" and part.measure}
    parts = {number: found.sentence[number] for number in found.clauses}
    own = [number for number in parts if words & {part.key for part in parts[number]}]
    others = {
        part.measure for number in own for part in parts[number] if part.kind == "amount" and part.key not in amounts
    }
    here = {part.key for number in own for part in parts[number]}
    return any(key not in here and measure in others for key, measure in amounts.items())


def _placed(clause: Clause) -> Iterator[tuple[tuple[str | None, str | None], Part]]:
    """Yields each part with the names (bound and key) of its neighbours."""
    names = [None, *(part.bound + part.key for part in clause), None]
    for place, part in enumerate(clause):
        yield (names[place], names[place + 2]), part


def _covers(theirs: Part, ours: Part, fragment: bool) -> bool:
    """Whether a statement's amount or frequency (`ours`) is the text's (`theirs`). In a fragment, "5 mg" may stand for
    the text's "at most 5 mg"."""
    if ours.kind != theirs.kind:
        return False
    if fragment and not ours.bound and ours.kind == "amount":
        return theirs.key == ours.key
    return theirs.key == ours.key and theirs.bound == ours.bound


def _with_parts(clause: Clause) -> Clause:
    """Adds amounts that a statement may quote separately: the ends of a range, and "5 days" of "every 5 days"."""
    parts: list[Part] = []
    for part in clause:
        parts.append(part)
        value, _, kind = part.key.partition(" ")
        if (found := re.fullmatch(r"freq(\d+)x(\d+)", part.key)) and int(found[1]):  # "0 times a day" has no interval
            parts.append(Part("amount", f"{int(found[2]) * 86400 // int(found[1])} time", "", _QUOTED))
        elif part.kind == "amount" and re.fullmatch(r"[\d.]+-[\d.]+", value):
            parts += [Part("amount", f"{end} {kind}", part.bound, _QUOTED) for end in value.split("-")]
    return tuple(parts)


def _frequencies_kept(clause: Clause, found: _Match) -> bool:
    """Whether the clause has a frequency, if a frequency follows one of its amounts in the text."""
    ours = {part.key for part in clause if part.kind == "amount"}
    if any(part.kind == "frequency" for part in clause):
        return True
    for number in found.clauses:
        parts = found.sentence[number]
        for place, part in enumerate(parts):
            if part.key in ours and any(later.kind == "frequency" for later in parts[place + 1 : place + 2]):
                return False
    return True
