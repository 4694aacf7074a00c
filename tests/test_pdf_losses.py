"""PDF: what is not in the text is counted, with its page; broken files get one sentence without a library's words."""

from __future__ import annotations

import logging
import re

import pypdfium2
import pytest
from corpus_files import make_pdf
from pdf_files import grid, shown, stream, write_pdf

from cdsframe.corpus.readers import Refused
from cdsframe.corpus.readers.pdf import read_pdf

PICTURE = stream(
    "\x00" * 12, "/Type /XObject /Subtype /Image /Width 2 /Height 2 /ColorSpace /DeviceRGB /BitsPerComponent 8"
)


def read(*contents, **parts):
    return read_pdf(write_pdf(*contents, **parts), 1 << 20)


def lost(parsed):
    return {item.reason: (item.count, item.text, item.place) for item in parsed.omitted}


def picture(width, height):
    return f"q {width} 0 0 {height} 20 20 cm /I1 Do Q\n"


def test_letters_without_a_map_are_counted_and_never_text():
    parsed = read(
        shown("Dosing of Zelnorin", 50, 720) + shown("\x29\x2c\x03\x14\x13", 50, 690, font="X"),
        shown("Give it with food.", 50, 720),
    )
    assert "cid" not in parsed.text
    assert parsed.text == "Page 1\n\nDosing of Zelnorin\n\nPage 2\n\nGive it with food."
    assert lost(parsed) == {"letters without a Unicode meaning": (5, True, "page 1")}


@pytest.mark.parametrize("letter", ["\ue123", "\ufffd", "\x13", "\uf0ff", "\uffff"])
def test_private_letters_and_controls_are_counted(letter):
    parsed = read(shown(f"Give 1{letter}5 mg", 50, 700, font="U"))
    assert letter not in parsed.text
    assert parsed.text == "Page 1\n\nGive 1…5 mg"
    assert lost(parsed) == {"letters without a Unicode meaning": (1, True, "page 1")}


def test_bullets_of_office_programs_are_bullets():
    parsed = read(shown("\uf0b7 Give 5 mg", 50, 700, font="U"))
    assert (parsed.text, parsed.omitted) == ("Page 1\n\n• Give 5 mg", ())


def test_pages_without_text_are_named():
    words, scan = shown("Give it with food.", 50, 720), picture(560, 760)
    parsed = read(words, scan, words, scan, scan, "", "20 20 m 300 300 l S\n", objects=[PICTURE])
    assert lost(parsed) == {
        "scanned pages without text": (3, True, "pages 2, 4-5"),
        "drawn pages without text": (1, False, "page 7"),
        "pictures": (3, False, ""),
    }


def test_a_picture_beside_text_is_no_loss_of_text():
    parsed = read(shown("Give it with food.", 50, 720) + picture(100, 100), objects=[PICTURE])
    assert lost(parsed) == {"pictures": (1, False, "")}


def test_invisible_text_over_a_scan_is_read():
    parsed = read(shown("Give it with food.", 50, 720, before="3 Tr") + picture(560, 760), objects=[PICTURE])
    assert parsed.text == "Page 1\n\nGive it with food."


def test_words_outside_the_page_are_counted():
    parsed = read(shown("Give it with food.", 50, 720) + shown("Never seen here", 50, 900))
    assert parsed.text == "Page 1\n\nGive it with food."
    assert lost(parsed) == {"words outside the visible page": (3, False, "")}


def test_repeated_headers_and_footers_stay_once():
    pages = [
        shown("Skerry hospital, zelnorin protocol", 50, 780)
        + shown(f"Text of part {n} is here.", 50, 500 - 7 * n)
        + shown(f"Page {n} of 5", 250, 20)
        for n in range(1, 6)
    ]
    parsed = read(shown("A title", 50, 700, 20) + pages[0], *pages[1:])
    assert parsed.text.count("Skerry hospital") == 1
    assert len(re.findall(r"Page \d of 5", parsed.text)) == 1
    assert all(f"Text of part {n} is here." in parsed.text for n in range(1, 6))
    assert lost(parsed) == {"words of repeated page headers and footers": (32, False, "")}


@pytest.mark.parametrize("unit", ["mg", "mosm", "ampoules", "kj/day", "Tage", "nmol"])
def test_lines_at_the_top_of_pages_that_differ_in_a_dose_stay(unit):
    doses = (5, 10, 40, 15)
    pages = [shown(f"Zelnorin {dose} {unit}", 50, 780) + shown("Give it with food.", 50, 400) for dose in doses]
    parsed = read(*pages)
    assert [f"Zelnorin {dose} {unit}" in parsed.text for dose in doses] == [True] * 4
    assert parsed.omitted == ()


@pytest.mark.parametrize(
    "line",
    [
        "Step {n}: give {n} mg daily",
        "Step {n}",
        "Step {n} of 4",
        "Contraindicated in pregnancy.",
        "Never in asthma",
        "Maximum 5 mg",
        "{n}/2 tablets",
    ],
)
@pytest.mark.parametrize("y", [60, 780])
def test_instructions_in_the_margins_of_pages_stay(line, y):
    pages = [shown(line.format(n=n), 50, y) + shown(f"Text of part {n} is here.", 50, 400) for n in range(1, 5)]
    parsed = read(*pages)
    assert sum(parsed.text.count(text) for text in {line.format(n=n) for n in range(1, 5)}) == 4
    assert parsed.omitted == ()


@pytest.mark.parametrize("line", ["Seite {n}", "- {n} -", "{n} of 4", "Ward 7 | {n}", "Protocol 12, page {n} of 4"])
def test_page_numbers_stay_once(line):
    pages = [shown(line.format(n=n), 50, 20) + shown(f"Text of part {n} is here.", 50, 400) for n in range(1, 5)]
    assert [line.format(n=n) in read(*pages).text for n in range(1, 5)] == [True, False, False, False]


def test_a_heading_below_a_line_that_differs_stays_on_every_page():
    pages = [
        shown(f"Drug {name}", 50, 780, 20) + shown("Dosing", 50, 750, 14) + shown(f"Give {name} with food.", 50, 400)
        for name in ("zelnorin", "belzamine", "corvex", "pexor")
    ]
    body = "".join(shown(f"More lines {n} of ordinary words to read.", 50, 300 - 12 * n) for n in range(8))
    assert read(*[page + body for page in pages]).text.count("Dosing") == 4


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.4 and nothing", "is not a readable PDF: it is damaged"),
        (b"PK\x03\x04 not a pdf at all", "is not a readable PDF: it is damaged"),
        (make_pdf([]), "has no text (a scanned document must go through text recognition first)"),
        (
            write_pdf(shown("\x29\x2c", 50, 690, font="X")),
            "has no text: the fonts of its 2 letters have no Unicode map",
        ),
    ],
)
def test_a_refusal_is_one_sentence_of_ours(data, reason, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Refused) as refusal:
        read_pdf(data, 1 << 20)
    assert str(refusal.value).startswith(reason)
    assert not re.search(r"Error|Exception|[A-Z][a-z]+[A-Z]|pdfium|pdfminer|None", str(refusal.value))
    assert capfd.readouterr() == ("", "")


def test_a_damaged_table_of_contents_of_the_file_does_not_lose_the_text():
    data = write_pdf(shown("Give it with food.", 50, 720)).replace(b"startxref", b"startxxxx")
    assert read_pdf(data, 1 << 20).text == "Page 1\n\nGive it with food."


def test_a_drawing_of_many_lines_is_read_in_time():
    content = grid([10 + 2 * n for n in range(290)], [10 + 2 * n for n in range(390)])
    assert read(shown("Give it with food.", 50, 795) + content).text == "Page 1\n\nGive it with food."


def refuse(*arguments, **options):
    raise pypdfium2.PdfiumError("no", err_code=pypdfium2.raw.FPDF_ERR_FORMAT)


def test_what_only_the_second_library_can_read_is_read(monkeypatch):
    monkeypatch.setattr(pypdfium2, "PdfDocument", refuse)
    lines = (
        shown("Give it with food.", 50, 720) + shown("Never twice a day.", 50, 700) + shown("Turned", 300, 300, 10, 90)
    )
    assert read(lines).text == "Page 1\n\nGive it with food.\nNever twice a day.\n\nTurned"


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turned_page_that_only_the_second_library_can_read_has_its_headings(monkeypatch, rotation):
    monkeypatch.setattr(pypdfium2, "PdfDocument", refuse)
    across, down = {0: (0, -1), 90: (1, 0), 180: (0, 1), 270: (-1, 0)}[rotation]
    content = shown("Zelnorin", 300 - 40 * across, 350 - 40 * down, 20, rotation)
    for n in range(6):
        line = f"Body line {n} of the protocol."
        content += shown(line, 300 + 14 * n * across, 350 + 14 * n * down, 10, rotation)
    parsed = read(content, page=f"/Rotate {rotation}", box="20 10 600 800")
    assert [section.heading for section in parsed.sections] == [("Zelnorin",)]


@pytest.mark.parametrize(("library", "function"), [("PdfDocument", "__getitem__"), ("PdfPage", "get_textpage")])
def test_a_page_that_only_the_second_library_can_read_is_read(monkeypatch, library, function):
    monkeypatch.setattr(getattr(pypdfium2, library), function, refuse)
    parsed = read(shown("Give it with food.", 50, 720), "")
    assert parsed.text == "Page 1\n\nGive it with food.\n\nPage 2"
    assert lost(parsed) == {"pages that cannot be read": (1, True, "page 2")}


def test_form_values_stay_on_a_page_whose_text_only_the_second_library_can_read(monkeypatch):
    monkeypatch.setattr(pypdfium2.PdfPage, "get_textpage", refuse)
    widget = "<< /Type /Annot /Subtype /Widget /Rect [100 675 300 692] /F 4 /FT /Tx /T (b) /V (5 mg) >>"
    form = {"page": "/Annots [20 0 R]", "catalog": "/AcroForm << /Fields [20 0 R] >>", "objects": [widget]}
    assert read(shown("Dose:", 50, 680), **form).text == "Page 1\n\nDose: 5 mg"
