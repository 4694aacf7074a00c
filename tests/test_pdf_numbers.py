"""PDF: numbers keep their value where letters are raised, lowered or stacked."""

from __future__ import annotations

import pytest
from pdf_files import grid, shown, write_pdf

from cdsframe.corpus.readers.pdf import read_pdf

BODY = "".join(
    shown("Body line with ordinary words about the ward and its patients.", 50, 500 - 14 * n) for n in range(6)
)


def lines_of(content):
    text = read_pdf(write_pdf(content + BODY), 1 << 20).text
    return [line for line in text.split("\n") if line and not line.startswith(("Body", "Page"))]


@pytest.mark.parametrize("digits", ["12", "11", "-9", "9", "123"])
@pytest.mark.parametrize("size", [6, 7])
def test_a_power_alone_on_its_line_keeps_its_exponent(digits, size):
    assert lines_of(shown("10", 50, 700) + shown(digits, 61.2, 704, size)) == [f"10^{digits}"]


def test_a_unit_alone_on_its_line_keeps_its_exponent():
    assert lines_of(shown("m", 50, 700) + shown("2", 58.4, 704, 6)) == ["m^2"]
    assert lines_of(shown("s", 50, 700) + shown("-1", 55.2, 704, 6)) == ["s^-1"]


def test_powers_in_cells_keep_their_exponents():
    content = grid([45, 145, 245, 345], [632, 652, 672, 692, 712])
    for n, (name, power) in enumerate((("Count", "12"), ("Alvorin", "-9"), ("Belzam", "9"), ("Corvex", "11"))):
        y = 697 - 20 * n
        content += shown(name, 50, y) + shown("10", 150, y) + shown(power, 161.2, y + 4, 6) + shown("x", 250, y)
    assert lines_of(content) == ["Count | 10^12 | x", "Alvorin | 10^-9 | x", "Belzam | 10^9 | x", "Corvex | 10^11 | x"]


def test_a_large_first_letter_beside_its_text_is_no_base_of_a_power():
    assert lines_of(shown("T", 50, 690, 30) + shown("he dog", 69, 702, 10)) == ["The dog"]


@pytest.mark.parametrize("blank", ["", " "])
def test_a_number_behind_a_superscript_is_a_second_number(blank):
    power = f"BT /F1 10 Tf 50 700 Td (Give 10) Tj /F1 6 Tf 4 Ts (9{blank}) Tj 0 Ts /F1 10 Tf (5 mg) Tj ET\n"
    assert lines_of(power) == ["Give 10^9 5 mg"]
    area = f"BT /F1 10 Tf 50 700 Td (Give 5 mg/m) Tj /F1 6 Tf 4 Ts (2{blank}) Tj 0 Ts /F1 10 Tf (7 days) Tj ET\n"
    assert lines_of(area) == ["Give 5 mg/m^2 7 days"]


def test_a_blank_in_a_superscript_stays():
    area = "BT /F1 10 Tf 50 700 Td (Give 5 mg/m) Tj /F1 6 Tf 4 Ts (2 ) Tj 0 Ts /F1 10 Tf (daily) Tj ET\n"
    assert lines_of(area) == ["Give 5 mg/m^2 daily"]


def test_a_number_behind_a_subscript_is_a_second_number():
    content = "BT /F1 10 Tf 50 700 Td (Give pCO) Tj /F1 6 Tf -2 Ts (2) Tj 0 Ts /F1 10 Tf (10 mmHg) Tj ET\n"
    assert lines_of(content) == ["Give pCO2 10 mmHg"]


@pytest.mark.parametrize(
    "parts",
    [
        [("1", 79.5, 704, 6, "F1"), ("/", 83, 700, 10, "F1"), ("2", 85.8, 698, 6, "F1")],
        [("1", 79.5, 704, 6, "F1"), ("/", 83, 700, 6, "F1"), ("2", 84.8, 700, 6, "F1")],
        [("1", 79.5, 704, 6, "F1"), ("\u2044", 83, 700, 6, "U"), ("2", 86.7, 700, 6, "F1")],
        [("1", 82, 705, 7, "F1"), ("2", 82, 696, 7, "F1")],
    ],
)
def test_a_built_fraction_stands_apart_from_the_whole_number(parts):
    fraction = "".join(shown(text, x, y, size, font=font) for text, x, y, size, font in parts)
    assert lines_of(shown("Give 2", 50, 700) + fraction + shown("tablets", 97, 700)) == ["Give 2 1/2 tablets"]
    assert lines_of(shown("Give it", 50, 700) + fraction + shown("5 times", 97, 700)) == ["Give it 1/2 5 times"]


RULE = "0.4 w 75 702.5 m 81 702.5 l S\n"


@pytest.mark.parametrize("rule", ["", RULE])
@pytest.mark.parametrize(("up", "down", "size"), [(4, 4, 7), (5, 5, 7), (5.9, 5.5, 7.3), (6.8, 6.9, 10), (3.9, 3.5, 7)])
def test_numbers_above_each_other_beside_the_baseline_are_a_fraction(up, down, size, rule):
    fraction = shown("1", 76, 700 + up, size) + rule + shown("2", 76, 700 - down, size)
    around = shown("The line before", 50, 718) + shown("The line after", 50, 682)
    content = shown("Take", 50, 700) + fraction + shown("tablet daily", 83, 700) + around
    assert lines_of(content) == ["The line before", "Take 1/2 tablet daily", "The line after"]
    first = shown("The line before", 76, 718) + fraction + shown("tablet daily", 83, 700)
    if rule or size < 10:
        assert lines_of(first) == ["The line before", "1/2 tablet daily"]


def test_a_fraction_in_a_turned_line_and_in_a_cell_is_read():
    turned = shown("Take", 300, 600, angle=90) + shown("1", 293, 625, 10, angle=90) + shown("2", 307, 625, 10, angle=90)
    turned += "0.4 w 297.5 624 m 297.5 631 l S\n" + shown("tablet daily", 300, 633, angle=90)
    assert "Take 1/2 tablet daily" in lines_of(turned)
    content = grid([45, 145, 245], [632, 662, 692])
    for y in (642, 672):
        content += shown("Take", 50, y) + shown("1", 76, y + 5, 7) + shown("2", 76, y - 5, 7) + shown("tablet", 83, y)
        content += shown("daily", 150, y)
    assert lines_of(content) == ["Take 1/2 tablet | daily"] * 2


@pytest.mark.parametrize(
    "content",
    [
        shown("Stop it", 50, 700) + shown("1", 84, 704, 6) + shown("Start it", 50, 688) + shown("2", 84, 692, 6),
        shown("Dose", 50, 700) + shown("1", 90, 706) + shown("2", 90, 694) + shown("Route", 120, 700),
        shown("5", 50, 712) + "0.4 w 49 709 m 57 709 l S\n" + shown("7", 50, 700) + shown("in all", 59, 700),
        shown("1", 50, 712) + shown("first", 58, 712) + shown("2", 50, 700) + shown("second", 58, 700),
    ],
)
def test_numbers_of_two_lines_are_no_fraction(content):
    assert "/" not in "".join(lines_of(content))


def test_an_index_below_an_exponent_is_no_fraction():
    content = shown("Give SO", 50, 700) + shown("2", 87, 704, 6) + shown("4", 87, 698, 6)
    assert "/" not in lines_of(content)[0]


def test_an_exponent_before_a_slash_is_no_numerator():
    content = "BT /F1 10 Tf 50 700 Td (Count 10) Tj /F1 6 Tf 4 Ts (9) Tj 0 Ts /F1 10 Tf (/2 L) Tj ET\n"
    assert lines_of(content) == ["Count 10^9/2 L"]


@pytest.mark.parametrize(("sign", "meant"), [("<", "≤"), (">", "≥")])
def test_a_comparator_on_a_line_of_its_own_is_or_equal(sign, meant):
    words = shown("Clearance", 50, 700) + shown(sign, 98, 700) + shown("30 mL/min", 108, 700)
    assert lines_of(words + "0.5 w 98 699 m 103.8 699 l S\n") == [f"Clearance {meant} 30 mL/min"]
    assert lines_of(words) == [f"Clearance {sign} 30 mL/min"]
    underlined = "0.5 w 50 698.5 m 150 698.5 l S\n"
    assert lines_of(words + underlined) == [f"Clearance {sign} 30 mL/min"]


@pytest.mark.parametrize(
    ("sign", "mark", "meant"), [("<", "_", "≤"), (">", "_", "≥"), ("+", "_", "±"), ("=", "/", "≠")]
)
@pytest.mark.parametrize("down", [0, 1, 2.5])
def test_a_sign_and_the_mark_printed_over_it_are_one_sign(sign, mark, meant, down):
    words, after = shown("Clearance", 50, 700), shown("30 mL/min", 108, 700)
    built = shown(sign, 98, 700) + shown(mark, 98 if mark == "_" else 99.5, 700 - down)
    assert lines_of(words + built + after) == [f"Clearance {meant} 30 mL/min"]
    assert lines_of(words + after + built) == [f"Clearance {meant} 30 mL/min"]


def test_signs_beside_marks_and_above_lines_to_write_on_stay():
    assert lines_of(shown("K >_ 30 =/ +_ 2", 50, 700)) == ["K >_ 30 =/ +_ 2"]
    assert "<" in lines_of(shown("K", 50, 700) + shown("<", 62, 700) + shown("_____", 56.4, 698))[0]


def test_a_plus_on_a_line_is_plus_or_minus_before_a_number_only():
    plus = shown("+", 98, 700) + "0.5 w 98 699 m 103.8 699 l S\n"
    assert lines_of(shown("Dose 5", 50, 700) + plus + shown("2 mg", 108, 700)) == ["Dose 5 ± 2 mg"]
    assert lines_of(shown("Protein", 50, 700) + plus + shown("seen", 108, 700)) == ["Protein + seen"]
