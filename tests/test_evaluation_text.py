"""Scores of an answer's text: what medicine holds equal is equal, what it holds apart stays apart."""

import re

import pytest

from cdsframe.artifacts.files import read_jsonl
from cdsframe.evaluation.text import exact_match, rouge_l, token_f1, tokens, wrong_dose
from cdsframe.text.tokens import strip_markers

EQUAL = [
    ("15 mg", "15mg"),
    ("15 mg", "15-mg"),
    ("1.5 mg.", "1.5 mg"),
    ("1,000 mL", "1000 ml"),
    ("12,345.50", "12345.5"),
    ("10\u202f000 units", "10000 units"),
    ("5 µg", "5 mcg"),
    ("5 μg", "5 micrograms"),
    ("<7.0", "< 7"),
    ("less than 7.0 mmol/L", "<7.0 mmol/l"),
    (">= 3", "≥3"),
    ("3.4 mmol/L or more", "≥ 3.4 mmol/L"),
    ("at least 3 days", "≥3 days"),
    ("2–4 mg", "2 to 4 mg"),
    ("2 mg to 4 mg", "2-4 mg"),
    ("2 — 4 mg", "2-4mg"),
    ("10⁹/L", "10^9/L"),
    ("10*9/L", "10^9 per litre"),
    ("1.5 × 10⁹/L", "1.5x10^9/L"),
    ("½ tablet", "1/2 tablet"),
    ("1½ tablets", "1 1/2 tablets"),
    ("−5", "-5"),
    ("between 2 and 4 mg", "2-4 mg"),
    ("2 g a day", "2 g/day"),
    ("no later than 3 hours", "at most 3 h"),
    ("5 %", "5 percent"),
    ("38.5 °C", "38.5C"),
    ("4 mg per kg per day", "4 mg/kg/day"),
    ("every 6 hours", "every 6 h"),
    ("twelve hours", "12 hours"),
    ("Twenty-four hours", "24 h"),
    ("14 March 2025", "2025-03-14"),
    ("March 14th, 2025", "14 Mar 2025"),
    ("Vitamin A", "vitamin a"),
    ("hepatitis A vaccine", "Hepatitis a vaccine"),
    ("A beta-blocker.", "beta blocker"),
    ("the ward sister", "ward sister"),
    ("Crohn’s disease", "Crohn's disease"),
    ("15 mg twice daily [1]", "15 mg twice daily"),
    ("15 mg [1, 2][3].", "15 mg"),
    ("room B12", "Room B12"),
    ("naïve", "naïve"),
]

DIFFERENT = [
    ("1.5 mg", "15 mg"),
    ("<7.0", "7.0"),
    ("<7.0", "70"),
    ("<7", "≤7"),
    ("5 mg", "5 mcg"),
    ("5 mg", "5 g"),
    ("5 MU", "5 mU"),
    ("5 mM", "5 mm"),
    ("-5", "5"),
    ("2-4 mg", "24 mg"),
    ("2-4 mg", "2 mg"),
    ("1/2 tablet", "12 tablets"),
    ("10^9/L", "109/L"),
    ("10^9/L", "10^6/L"),
    ("1,5 mg", "15 mg"),
    ("hepatitis A", "hepatitis"),
    ("hepatitis A", "hepatitis B"),
    ("blood group A+", "blood group A-"),
    ("O-", "O+"),
    ("ward 4A", "ward 4B"),
    ("bleep 0417", "bleep 417"),
    ("2025-03-14", "2025-03-15"),
    ("120/80", "12080"),
    ("1:1000", "1:10,000"),
    ("5 %", "5"),
    ("14:30", "1430"),
    ("0.5 mg", "5 mg"),
    ("B12", "B1"),
    ("Room C2.07", "Room C2.7"),
    ("Room C2.07", "Room C207"),
    ("A positive", "positive"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal(one: str, other: str) -> None:
    assert tokens(one) == tokens(other)
    assert exact_match(one, [other]) == token_f1(one, [other]) == 1
    assert rouge_l(one, [other]) == pytest.approx(1)
    assert not wrong_dose(one, [other])


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: str, other: str) -> None:
    assert exact_match(one, [other]) == 0
    assert token_f1(one, [other]) < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Give 15mg, twice daily.", ["give", "15", "mg", "twice", "daily"]),
        ("P-1004 on 3 May 2024", ["p", "1004", "on", "2024-05-03"]),
        ("0.9% saline at 80 mL/h", ["0.9", "%", "saline", "at", "80", "ml/h"]),
        ("Temp. >38 °C", ["temp", ">", "38", "°c"]),
        ("900 mL over 1 hour", ["900", "ml", "over", "1", "h"]),
        ("a COVID-19 test", ["covid", "19", "test"]),
        ("5th floor, ward 4B", ["5th", "floor", "ward", "4b"]),
        ("", []),
        ("…", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert list(tokens(text)) == expected


def test_f1_counts_repeated_tokens_and_takes_the_best_gold() -> None:
    assert token_f1("15 mg mg", ["15 mg"]) == pytest.approx(2 * 2 / 5)
    assert token_f1("15 mg twice daily", ["30 mg", "15 mg twice a day", "15 mg twice daily"]) == 1
    assert token_f1("", ["15 mg"]) == 0


@pytest.mark.parametrize(
    ("text", "golds", "wrong"),
    [
        ("15 mg", ["1.5 mg"], True),
        ("500 mcg", ["500 mg"], True),
        ("500 mg", ["0.5 g"], False),
        ("24 hours", ["1 day"], False),
        ("15 mg for 3 days", ["15 mg"], False),
        ("2-5 mg", ["2-4 mg"], True),
        ("2 to 4 mg", ["2–4 mg"], False),
        ("15 mg, up to 60 mg", ["15 mg"], True),
        ("15 mg/kg", ["15 mg"], False),
        ("4 mg/kg/h", ["4 mg/kg/day"], True),
        ("ring 4417", ["bleep 4418"], False),
        ("30 mg", ["15 mg", "30 mg"], False),
        ("no dose at all", ["15 mg"], False),
        ("twelve hours", ["6 hours"], True),
    ],
)
def test_wrong_dose(text: str, golds: list[str], wrong: bool) -> None:
    assert wrong_dose(text, golds) is wrong


def test_markers_are_stripped_and_other_brackets_stay() -> None:
    assert strip_markers("15 mg [1], then [note] 30 mg [2-3].") == "15 mg, then [note] 30 mg."


STATED = re.compile(
    r"\b(above|below|under|up to|within|earliest|enough|how (long|late|low|many hours))\b", re.IGNORECASE
)
"""Words of a question that state the bound themselves, so that a bare number answers it."""


def bounds(text: str) -> list[str]:
    return [token for token in tokens(text) if re.match(r"[<>≤≥]", token)]


def test_no_alias_of_the_hospital_drops_a_bound_that_its_question_does_not_state() -> None:
    """`9 ng/L` is no answer where the rise must be more than 9 ng/L."""
    assert bounds("more than 9 ng/L") != bounds("9 ng/L") == []
    rows = [row for half in "ab" for _, row in read_jsonl(f"package:hospital/questions-{half}.jsonl")]
    bounded = [row for row in rows if bounds(row["answer"]) and not STATED.search(row["question"])]
    assert len(bounded) > 10
    assert not [row["id"] for row in bounded for alias in row["aliases"] if not bounds(alias)]
