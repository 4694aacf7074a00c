"""PDF: single letters of a font that is not in the file, which pdfium skips, are read or counted."""

from __future__ import annotations

from contextlib import closing

import pypdfium2
import pytest
from pdf_files import shown, write_pdf

from cdsframe.corpus.readers.pdf import letters, read_pdf, second

BODY = "".join(
    shown("Body line with ordinary words about the ward and its patients.", 50, 500 - 14 * n) for n in range(6)
)


def read(content, **parts):
    return read_pdf(write_pdf(content, **parts), 1 << 20)


def first_line(content):
    return read(content + BODY).text.split("\n")[2]


@pytest.mark.parametrize("sign", ["≥", "≤", "−", "–", "•", "⁄", "±", "½"])
def test_a_sign_of_a_font_that_is_not_in_the_file_stays(sign):
    code = f"{ord(sign):04X}"
    line = f"BT /F1 10 Tf 50 700 Td (Dose ) Tj /U 10 Tf <{code}> Tj /F1 10 Tf ( 5 mg) Tj ET\n"
    assert first_line(line) == f"Dose {sign} 5 mg"
    assert first_line(shown("Dose", 50, 700) + shown(sign, 76.1, 700, font="U") + shown("5 mg", 84.9, 700)) == (
        f"Dose {sign} 5 mg"
    )
    form = "q 1 0 0 1 20 30 cm " + line + "Q\n"
    assert first_line(form) == f"Dose {sign} 5 mg"


def test_a_range_stays_a_range():
    line = "BT /F1 10 Tf 50 700 Td (Give 5) Tj /U 10 Tf <2013> Tj /F1 10 Tf (10 mg) Tj ET\n"
    assert first_line(line) == "Give 5–10 mg"


def test_a_minus_in_an_exponent_stays():
    line = "BT /F1 10 Tf 50 700 Td (Count 10) Tj 4 Ts /U 6 Tf <2212> Tj /F1 6 Tf (9) Tj 0 Ts /F1 10 Tf ( per litre)"
    line += " Tj ET\n"
    assert first_line(line) == "Count 10^−9 per litre"


def test_a_sign_alone_on_its_line_stays():
    assert first_line(shown("≥", 50, 700, font="U")) == "≥"


@pytest.mark.parametrize("body", ["", BODY])
def test_a_line_written_letter_by_letter_stays(body):
    words = "禁忌：腎不全患者禁用"
    parsed = read("".join(shown(letter, 50 + 6.2 * n, 700, font="U") for n, letter in enumerate(words)) + body)
    assert parsed.text.split("\n")[2] == words
    assert parsed.omitted == ()


def test_a_line_written_letter_by_letter_stays_beside_a_drawing():
    words = "禁忌：腎不全患者禁用"
    content = "".join(shown(letter, 50 + 6.2 * n, 700, font="U") for n, letter in enumerate(words))
    assert read(content + "20 20 m 300 300 l S\n").text.split("\n")[2] == words


@pytest.mark.parametrize("angle", [90, 270])
def test_a_turned_word_stays(angle):
    parsed = read(shown("禁忌腎", 300, 300, font="U", angle=angle) + BODY)
    assert "禁忌腎" in parsed.text


def test_blanks_and_words_printed_twice_are_no_loss():
    content = "BT /F1 10 Tf 50 700 Td (Dose ) Tj ( ) Tj (5 mg) Tj ET\n" + 2 * shown("Never twice.", 50, 650)
    parsed = read(content + BODY)
    assert parsed.text.split("\n")[2:5:2] == ["Dose 5 mg", "Never twice."]
    assert parsed.omitted == ()


def test_a_sign_that_no_library_reads_is_counted(monkeypatch):
    monkeypatch.setattr(second.SecondReading, "read", lambda self, number: second.SecondPage())
    parsed = read("BT /F1 10 Tf 50 700 Td (Dose ) Tj /U 10 Tf <2265> Tj /F1 10 Tf ( 5 mg) Tj ET\n" + BODY)
    assert [(item.reason, item.count, item.text) for item in parsed.omitted] == [
        ("letters without a Unicode meaning", 1, True)
    ]


BOXES = [
    {"box": "0 0 600 800"},
    {"box": "20 10 600 800"},
    {"box": "600 800 -30 -20"},
    {"box": "-30 -20 600 800", "page": "/CropBox [40 50 550 760] "},
]
LINES = {
    "Dose ≥ 5 mg of zelnorin": "/F1 10 Tf (Dose ) Tj /U 10 Tf <2265> Tj /F1 10 Tf ( 5 mg of zelnorin) Tj",
    "Give 5–10 mg": "/F1 10 Tf (Give 5) Tj /U 10 Tf <2013> Tj /F1 10 Tf (10 mg) Tj",
    "Count 10^−9 per l": "/F1 10 Tf (Count 10) Tj 4 Ts /U 6 Tf <2212> Tj /F1 6 Tf (9) Tj 0 Ts /F1 10 Tf ( per l) Tj",
    "Never in asthma of the ill": "/F1 10 Tf (Never in asthma of the ill) Tj",
}


def turned(angle):
    """Operators that show LINES in a direction."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[angle]
    places = ((300 + 20 * n * sin, 350 - 20 * n * cos) for n in range(len(LINES)))
    rows = zip(places, LINES.values(), strict=True)
    return "".join(f"BT {cos} {sin} {-sin} {cos} {x} {y} Tm {text} ET\n" for (x, y), text in rows)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270, -90])
def test_a_skipped_sign_stays_on_a_turned_or_shifted_page(rotation, box):
    for angle in (0, 90, 180, 270):
        parsed = read(turned(angle), **{**box, "page": f"{box.get('page', '')}/Rotate {rotation}"})
        assert (parsed.text.split("\n")[2:], parsed.omitted) == ([*LINES], ())


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_both_libraries_give_a_letter_one_place_and_size(rotation, box):
    content = "".join(shown("Never in illness", 300, 350, 10, angle) for angle in (0, 90, 180, 270))
    data = write_pdf(content, **{**box, "page": f"{box.get('page', '')}/Rotate {rotation}"})
    with closing(pypdfium2.PdfDocument(data)) as document:
        page = document[0]
        found = letters.read_letters(page, page.get_textpage()).letters
    other = second.SecondReading(data).read(0)
    assert other.upright == rotation
    for one, two in zip(found, other.letters, strict=True):
        assert (one.text, one.turn) == (two.text, two.turn)
        assert (two.left, two.base, two.size) == pytest.approx((one.left, one.base, one.size), abs=0.02)


def test_a_skipped_sign_behind_a_double_letter_does_not_divide_it():
    line = "BT /F1 10 Tf 50 700 Td (One pill ) Tj /U 10 Tf <2265> Tj /F1 10 Tf ( 5 mg) Tj ET\n"
    assert first_line(line) == "One pill ≥ 5 mg"


@pytest.mark.parametrize("body", ["", BODY])
def test_a_sign_where_the_other_library_reads_nothing_is_counted(monkeypatch, body):
    whole = second.SecondReading.read

    def without_signs(self, number):
        page = whole(self, number)
        page.letters = [letter for letter in page.letters if letter.text != "≥"]
        return page

    monkeypatch.setattr(second.SecondReading, "read", without_signs)
    parsed = read("BT /F1 10 Tf 50 700 Td (Dose ) Tj ( ) Tj /U 10 Tf <2265> Tj /F1 10 Tf ( 5 mg) Tj ET\n" + body)
    assert [(item.reason, item.count, item.text) for item in parsed.omitted] == [
        ("letters without a Unicode meaning", 1, True)
    ]
