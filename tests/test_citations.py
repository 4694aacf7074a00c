"""Markers, statements and spans, by tables."""

from __future__ import annotations

import random

import pytest
from answering import passage
from growth import growth

from cdsframe.citations import check, statements, support
from cdsframe.text.markers import clean, finished, settled, unmarked

DOSE = "Check the pulse first. The loading dose of velorapine is 4.5 mg. Repeat after 6 hours."


@pytest.mark.parametrize(
    ("text", "shown", "kept", "removed"),
    [
        ("4.5 mg [1].", 2, "4.5 mg [1].", 0),
        ("4.5 mg [3].", 2, "4.5 mg.", 1),
        ("4.5 mg [1, 3].", 2, "4.5 mg [1].", 1),
        ("4.5 mg [1][9] now [0].", 2, "4.5 mg [1] now.", 2),
        ("4.5 mg [ 1 ; 2 ]", 2, "4.5 mg [1, 2]", 0),
        ("[7] The dose.", 2, "The dose.", 1),
        ("range [3.4] and [a]", 2, "range [3.4] and [a]", 0),
        ("no passages [1]", 0, "no passages", 1),
        ("[99999999999999999999]", 1, "[99999999999999999999]", 0),
        ("nested [[9]8] or [[9]1]", 1, "nested or [1]", 3),
    ],
)
def test_a_marker_that_names_no_shown_passage_goes(text: str, shown: int, kept: str, removed: int) -> None:
    assert clean(text, shown) == (kept, removed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A is 5 mg [1]. B is 6 mg [2].", [("A is 5 mg", (1,)), ("B is 6 mg", (2,))]),
        ("A is 5 mg [1][2, 1].", [("A is 5 mg", (1, 2))]),
        ("A is 5 mg. [1]", [("A is 5 mg", (1,))]),
        ("[1] A is 5 mg. [2] B is 6 mg.", [("A is 5 mg", (1,)), ("B is 6 mg", (2,))]),
        ("A is 5 mg [1]. Nothing cited.", [("A is 5 mg", (1,)), ("Nothing cited", ())]),
        ("Nothing cited.", [("Nothing cited", ())]),
        ("A is [136, 145] mmol/L [1]. B is [2] mg [2].", [("A is [136, 145] mmol/L", (1,)), ("B is [2] mg", (2,))]),
        ("[1]", []),
        ("", []),
    ],
)
def test_a_marker_belongs_to_the_statement_before_it(text: str, expected: list) -> None:
    assert list(statements(text)) == expected


@pytest.mark.parametrize(
    ("statement", "text", "span", "share"),
    [
        ("The loading dose is 4.5 mg", DOSE, "The loading dose of velorapine is 4.5 mg.", 1.0),
        ("4.50 mg", DOSE, "The loading dose of velorapine is 4.5 mg.", 1.0),
        ("The loading dose is 45 mg", DOSE, DOSE, 0.0),
        ("The loading dose is 4.5 g", DOSE, DOSE, 0.0),
        ("Repeat after six hours", DOSE, "Repeat after 6 hours.", 1.0),
        ("Repeat after 6 days", DOSE, DOSE, 0.0),
        (
            "Dose 4.5 mg, repeat after 6 hours",
            DOSE,
            "The loading dose of velorapine is 4.5 mg. Repeat after 6 hours.",
            0.5,
        ),
        ("Give flowers", DOSE, DOSE, 0.0),
        ("2 mg", "Give 2 to 4 mg daily.", "Give 2 to 4 mg daily.", 1.0),
        ("1,500 mL", "Limit fluids to 1500 mL.", "Limit fluids to 1500 mL.", 1.0),
        ("20 µg", "Start at 20 mcg.", "Start at 20 mcg.", 1.0),
        ("15 mg/kg", "Give 15mg/kg at once", "Give 15mg/kg at once", 1.0),
        ("pulse velorapine sodium", "Check the pulse.\nSodium is low.", "Check the pulse.", 0.5),
    ],
)
def test_support_is_the_share_of_words_in_the_best_sentences_and_none_where_a_number_differs(
    statement: str, text: str, span: str, share: float
) -> None:
    source = passage(0, text)
    start, end, found = support(statement, source)
    assert text[start - source.start : end - source.start] == span
    assert found == pytest.approx(share)


def test_the_question_chooses_between_spans_that_support_alike() -> None:
    source = passage(2, "Adults get 5 mg of it. Children with fever get 5 mg of it.")
    start, _, _ = support("5 mg", source, "What do children get?")
    assert source.text[start - source.start :].startswith("Children")


def test_check_counts_what_is_cited_and_what_was_removed() -> None:
    checked = check("The loading dose is 4.5 mg [1]. It is pink [2]. Sleep well [3].", [passage(0), passage(1)])
    assert checked.text == "The loading dose is 4.5 mg [1]. It is pink [2]. Sleep well."
    assert [(c.number, c.passage.id, c.support) for c in checked.citations] == [(1, "p0", 1.0), (2, "p1", 0.0)]
    assert (checked.statements, checked.cited, checked.removed) == (3, 2, 1)


@pytest.mark.parametrize("stub", ["[", " [9", "  [1, ", "\n[ 1;", "[[9", " [1, [2"])
def test_a_marker_that_is_cut_off_is_neither_shown_nor_cited(stub: str) -> None:
    checked = check("The loading dose is 4.5 mg [1]" + stub, [passage(0), passage(1)])
    assert checked.text == "The loading dose is 4.5 mg [1]"
    assert [citation.number for citation in checked.citations] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "It is 5 mg [1, 9] or [2]; see [note] and [3.4] there [8]. ",
        "[9] Yes [1]",
        "x [ y",
        "dose [1]  [9",
        "a [[9]8] b [1, [9] 7] c [1, [2] 8]",
    ],
)
def test_what_is_settled_only_grows_into_the_checked_text(text: str) -> None:
    sent = ""
    for length in range(len(text) + 1):
        ready = settled(text[:length], 2)
        assert ready.startswith(sent)
        sent = ready
    assert check(text, [passage(0), passage(1)]).text.startswith(sent)


def test_settled_text_of_random_pieces_never_changes_again() -> None:
    dice = random.Random(3)
    pieces = [
        "[1]",
        "[9]",
        "[136, 145]",
        " mmol/L",
        " mg",
        " day and night",
        " a day",
        "[",
        "]",
        "9",
        " ",
        ". ",
        "/",
        "\n",
    ]
    for _ in range(2000):
        text = "".join(dice.choice(pieces) for _ in range(dice.randint(1, 12)))
        sent = ""
        for length in range(len(text) + 1):
            ready = settled(text[:length], 2)
            assert ready.startswith(sent), text
            sent = ready
        assert finished(clean(text, 2)[0]).startswith(sent), text


@pytest.mark.parametrize("piece", ["[1] ", "[9] ", "[[1] ", "a   ", "5 mg [1]. "])
def test_a_streamed_text_is_settled_piece_by_piece_without_a_search_of_all_of_it_for_each_marker(piece: str) -> None:
    def stream(pieces: int) -> None:
        text = piece * pieces
        for length in range(len(piece), len(text) + 1, len(piece)):
            settled(text[:length], 5)

    assert growth(stream, 128) < 32  # reading each text once is quadratic, 16; searching it for each marker 64


@pytest.mark.parametrize(("start", "repeated", "end"), [
    ("", " ", "x"), ("", "[ ", "x"), ("[1]", " ", "x."), ("a [1", " ", "x"), ("", "1 [1]", ""),
])  # fmt: skip
def test_blanks_and_brackets_take_linear_time(start: str, repeated: str, end: str) -> None:
    def read(times: int) -> None:
        text = start + repeated * times + end
        finished(text), settled(text, 5), clean(text, 5), unmarked(text)

    assert growth(read, 8_000 // len(repeated)) < 9  # linear 4, quadratic 16


def test_unmarked_text_has_no_markers() -> None:
    assert unmarked("It is 5 mg [1, 2]. Go [3] on.") == "It is 5 mg. Go on."


@pytest.mark.parametrize("text", ["The target is [1, 2] with meals [1].", "A range of [1, 3] [1].", "INR [2, 3] [1]."])
def test_an_interval_behind_its_name_is_no_citation(text):
    assert clean(text, 1)[0] == text
