"""What readers leave out: headings stay, the report counts the rest, and `strict` refuses lost text."""

import pytest

from cdsframe.corpus.readers.scripts import joined, subscript, superscript
from cdsframe.corpus.records import checked
from cdsframe.errors import InputError
from cdsframe.ingestion.report import Report
from cdsframe.text.blocks import Block, assemble
from cdsframe.types import Document, Omission, Section


def sections_of(*blocks):
    text, sections = assemble(blocks)
    return [(section.heading, text[section.start : section.end]) for section in sections]


def test_a_heading_without_text_is_a_section_of_its_own():
    assert sections_of(Block("Never with warfarin", 1), Block("Dose", 1), Block("5 mg"), Block("Not in asthma", 2)) == [
        (("Never with warfarin",), "Never with warfarin"),
        (("Dose",), "5 mg"),
        (("Dose", "Not in asthma"), "Not in asthma"),
    ]


def test_a_heading_above_deeper_headings_stands_in_their_paths_only():
    assert sections_of(Block("Guide", 1), Block("Dose", 2), Block("5 mg"), Block("Storage", 1)) == [
        (("Guide", "Dose"), "5 mg"),
        (("Storage",), "Storage"),
    ]


def document(*omitted):
    return Document("a", "A", "text", (Section((), 0, 4),), {"source": "a.pdf"}, omitted)


def test_strict_refuses_lost_text_but_not_pictures():
    pictures = Omission("pictures", 3, text=False)
    letters = Omission("undecodable letters", 8, text=True, place="page 1")
    assert list(checked([("a.pdf", document(pictures))], strict=True)) == [document(pictures)]
    assert list(checked([("a.pdf", document(letters))], strict=False)) == [document(letters)]
    with pytest.raises(
        InputError, match=r"a\.pdf: loses text \(8 undecodable letters, page 1\).*To fix this, correct the source"
    ):
        list(checked([("a.pdf", document(pictures, letters))], strict=True))


def test_the_report_has_a_line_for_each_reason_and_metrics():
    report = Report()
    report.omit(document(Omission("pictures", 3, text=False), Omission("undecodable letters", 8, True, "page 1")))
    report.omit(document(Omission("pictures", 1, text=False)))
    assert report.text.splitlines()[-2:] == [
        "TEXT LOST: 8 undecodable letters: a.pdf (8, page 1)",
        "left out: 4 pictures: a.pdf (3), a.pdf (1)",
    ]
    assert report.metrics["ingest/omitted"] == 12
    assert report.metrics["ingest/text_lost"] == 8


@pytest.mark.parametrize(
    ("before", "text", "right"),
    [("x 10", "9", "^9"), ("5 mg", "2", "^2"), ("the 1", "st", "st"), ("5 mg", "a", "^a"), ("10", "-3", "^-3"),
     ("x", "a b", "^(a b)"), ("", "9", "9"), ("x 10 ", "9", "^9"), ("see ", "1", "1"),
     ("m", "2 ", "^2 "), ("10", " 9 ", " ^9 "), ("10\u00a0", "9", "^9"), ("8", "1/3", "^(1/3)")],
)  # fmt: skip
def test_superscripts_keep_their_meaning(before, text, right):
    assert superscript(before, text) == right


@pytest.mark.parametrize(
    ("before", "text", "right"),
    [("H", "2", "2"), ("log10", "2", "_2"), ("C", "max", "max"), ("10", "2 ", "_2 "), ("10 ", "2", "2")],
)
def test_subscripts_keep_their_meaning(before, text, right):
    assert subscript(before, text) == right


S, B = "superscript", "subscript"


@pytest.mark.parametrize(
    ("parts", "right"),
    [
        ([("", "10"), (S, "9"), ("", "5 mg")], "10^9 5 mg"),
        ([("", "10"), (S, "9 "), ("", "5 mg")], "10^9 5 mg"),
        ([("", "m"), (S, "2"), ("", "5 mg")], "m^2 5 mg"),
        ([("", "10"), (S, "9"), ("", ".5 mg")], "10^9 .5 mg"),
        ([("", "CO"), (B, "2"), ("", "10 mmHg")], "CO2 10 mmHg"),
        ([("", "CO"), (B, "2"), ("", ", 10 mmHg")], "CO2, 10 mmHg"),
        ([("", "SO"), (B, "4"), (S, "2-"), ("", " ions")], "SO4^2- ions"),
        ([("", "the 1"), (S, "st"), ("", " day")], "the 1st day"),
        ([("", "1"), (S, "1"), ("", "/"), (B, "2"), ("", " tablets")], "1 1/2 tablets"),
        ([("", "1 "), (S, "1"), ("", "/"), (B, "2"), ("", " tablets")], "1 1/2 tablets"),
        ([("", "1"), (S, "1"), ("", "\u2044"), (B, "2"), ("", "5 mg")], "1 1/2 5 mg"),
        ([("", "1"), (S, "1"), ("", "\u20442 tablets")], "1 1/2 tablets"),
        ([("", "1"), (S, "1/"), (B, "2")], "1 1/2"),
        ([("", "1"), (S, "1"), (B, "/2")], "1 1/2"),
        ([(S, "1"), ("", "/"), (B, "2"), ("", " tablet")], "1/2 tablet"),
        ([("", "("), (S, "1"), ("", "/"), (B, "2"), ("", ")")], "(1/2)"),
        ([("", "10"), (S, "9"), ("", "/L and CO"), (B, "2")], "10^9/L and CO2"),
        ([("", "10"), (S, "9"), ("", "/")], "10^9/"),
    ],
)
def test_no_script_runs_into_a_number_beside_it(parts, right):
    assert joined(parts) == right
