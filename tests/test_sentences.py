"""Where sentences start and end in wrapped text, lists, records and other text of many lines."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdsframe.text.sentences import sentences, words_of


def said(text):
    return [words_of(text, one, join_divided=True) for one in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One here. Two there.\n\nThree", ["One here.", "Two there.", "Three"]),
        ("do not\ngive it. Ask", ["do not give it.", "Ask"]),
        ("A line of prose that is as long as Dr\nSmith wants.", ["A line of prose that is as long as Dr Smith wants."]),
        ("Name: Ann\nWard: 5 B", ["Name: Ann", "Ward: 5 B"]),
        ("2024-01-01: low\n2024-01-02: high", ["2024-01-01: low", "2024-01-02: high"]),
        ("Short\nLines\nStay", ["Short", "Lines", "Stay"]),
        ("Do not:\n- drive\n- swim. Or run", ["Do not:", "Do not drive", "Do not swim.", "Do not Or run"]),
        ("Call us.\n- daily", ["Call us.", "- daily"]),
        ("You may\n1. walk\n2) run", ["You may", "You may walk", "You may run"]),
        ("hyper-\n  tension. Next", ["hypertension.", "Next"]),
        ("肾功能不全者禁用。每日口服。", ["肾功能不全者禁用。", "每日口服。"]),
        ("", []),
        (" \n\n ", []),
    ],
)  # fmt: skip
def test_sentences_of(text, expected):
    assert said(text) == expected


@given(st.text(alphabet="aB1.-:?\n \u00ad•", max_size=60))
def test_sentences_are_in_order_and_hold_every_character(text):
    found = sentences(text)
    assert all(one.start < one.end for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    inside = "".join(text[one.start : one.end] for one in found)
    assert "".join(inside.split()) == "".join(text.split())
