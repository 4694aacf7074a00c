"""PDF: letters become words, lines, columns and headings as a reader of the page sees them."""

from __future__ import annotations

import pytest
from pdf_files import grid, shown, write_pdf

from cdsframe.corpus.readers.pdf import read_pdf


def read(*contents, **parts):
    return read_pdf(write_pdf(*contents, **parts), 1 << 20)


def text_of(*contents, **parts):
    return read(*contents, **parts).text.removeprefix("Page 1\n\n")


def lines_at(lines, x=50, y=700, step=12, size=10):
    return "".join(shown(line, x, y - step * n, size) for n, line in enumerate(lines))


def test_spaces_are_relative_to_the_size_of_the_letters():
    words = ["Give", "zelnorin", "twenty", "milligrams"]
    content, x = "", 50.0
    for word in words:
        content += shown(word, x, 700, 4)
        x += 4 * 0.5 * len(word) + 1.6
    assert text_of(content) == "Give zelnorin twenty milligrams"


def test_a_title_over_two_lines_is_whole():
    title = shown("Do not give zelnorin to", 50, 760, 18) + shown("patients with asthma", 50, 739, 18)
    parsed = read(title + lines_at([f"Body line {n} of the protocol." for n in range(6)]))
    assert parsed.title == "Do not give zelnorin to patients with asthma"
    assert [section.heading for section in parsed.sections] == [("Do not give zelnorin to patients with asthma",)]


def test_headings_below_each_other_stay_apart_and_none_is_lost():
    headings = lines_at(["Never with digoxin", "Never in glaucoma", "Storage"], y=500, step=16, size=13)
    parsed = read(
        lines_at([f"Body line {n} with words about the ward." for n in range(12)])
        + headings
        + shown("Keep below 25 degrees.", 50, 450)
    )
    assert [s.heading for s in parsed.sections] == [(), ("Never with digoxin",), ("Never in glaucoma",), ("Storage",)]
    assert "Never with digoxin" in parsed.text[parsed.sections[1].start : parsed.sections[1].end]


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_turned_text_reads_in_its_own_direction(angle):
    step = {90: (14, 0), 180: (0, 14), 270: (-14, 0)}[angle]
    lines = ["Zelnorin dose table", "Adults 20 mg daily", "Children 15 mg daily"]
    turned = "".join(shown(line, 300 + n * step[0], 300 + n * step[1], 10, angle) for n, line in enumerate(lines))
    assert text_of(shown("Appendix", 50, 760) + turned) == "Appendix\n\n" + "\n".join(lines)


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_turned_page_reads_as_it_is_shown(angle):
    step = {90: (14, 0), 180: (0, 14), 270: (-14, 0)}[angle]
    lines = ["Zelnorin dose table", "Adults 20 mg daily"]
    content = "".join(shown(line, 300 + n * step[0], 300 + n * step[1], 10, angle) for n, line in enumerate(lines))
    assert text_of(content, page=f"/Rotate {angle}") == "\n".join(lines)


@pytest.mark.parametrize(
    ("written", "visual"),
    [
        ("אין לתת בהריון", "ןוירהב תתל ןיא"),
        ("מינון 15 ליום", "םויל 15 ןונימ"),
        ("לא לתת zelnorin בהריון", "ןוירהב zelnorin תתל אל"),
        ("לא לתת 2.5 mg/kg ליום", "םויל mg/kg 2.5 תתל אל"),
        ("לא לתת 2.5 mosm ליום", "םויל mosm 2.5 תתל אל"),
        ("לא לתת 2.5 nmol ליום", "םויל nmol 2.5 תתל אל"),
        ("לא לתת C 500 ליום", "םויל C 500 תתל אל"),
        ("אין לתת zelnorin forte 20 mg בהריון", "ןוירהב zelnorin forte 20 mg תתל ןיא"),
        ("ירידה של 50% ב-12:30 או 10-20 שעות", "תועש 10-20 וא 12:30-ב 50% לש הדירי"),
        ("(אסור) בהריון", "ןוירהב (רוסא)"),
        ("الجرعة ١٥٫٥ ملغ", "غلم ١٥٫٥ ةعرجلا"),
    ],
)
def test_right_to_left_text_is_in_reading_order_and_numbers_stay(written, visual):
    assert text_of(shown(visual, 50, 700, 12, font="U")) == written


def test_shapes_of_arabic_letters_are_the_letters():
    visual = "\ufea9\ufe8d\ufeed\ufea9"
    assert text_of(shown(visual, 50, 700, 12, font="U")) == "دواد"


def test_right_to_left_words_in_a_left_to_right_text():
    assert text_of(shown("The word ןוירהב תתל means giving", 50, 700, 12, font="U")) == (
        "The word לתת בהריון means giving"
    )


def test_a_right_to_left_table_begins_at_the_right():
    content = grid([40, 250, 450], [600, 650, 700])
    for y, (right, left) in ((680, ("ןונימ", "15 mg")), (630, ("תורידת", "םויב 3"))):
        content += shown(right, 300, y, font="U") + shown(left, 60, y, font="U")
    assert text_of(content) == "מינון | 15 mg\nתדירות | 3 ביום"


def test_columns_are_read_one_after_the_other_though_written_across():
    left = ["Zelnorin is given at 20 mg daily", "in adults with normal kidneys.", "Halve the dose in the elderly."]
    right = ["Belzamine must never be used", "in pregnancy or when nursing.", "Stop it at once in asthma."]
    content = shown("A heading across both of the columns of the page, in the letters of the body", 50, 730)
    for n, (one, two) in enumerate(zip(left, right, strict=True)):
        content += shown(one, 50, 700 - 12 * n) + shown(two, 300, 700 - 12 * n)
    text = text_of(content)
    assert "\n".join(left) in text
    assert "\n".join(right) in text
    assert text.index("elderly") < text.index("Belzamine")


def test_three_columns_of_running_text():
    columns = [
        [f"{name} text runs on here and", "then goes on in the next line", "until its sentence is done."]
        for name in ("First", "Second", "Third")
    ]
    content = "".join(shown(columns[c][n], 40 + 185 * c, 700 - 12 * n) for n in range(3) for c in range(3))
    assert text_of(content) == "\n\n".join("\n".join(column) for column in columns)


def test_rows_of_a_table_without_rules_stay_together():
    rows = [("Adults", "20 mg", "daily"), ("Children", "15 mg", "daily"), ("Elderly", "10 mg", "weekly")]
    content = "".join(
        shown(cell, 50 + 150 * c, 700 - 14 * n) for n, row in enumerate(rows) for c, cell in enumerate(row)
    )
    assert text_of(content) == "\n".join(" ".join(row) for row in rows)
    by_column = "".join(
        shown(row[c], 50 + 150 * c, 700 - 14 * n) for c in range(2) for n, row in enumerate(rows)
    )  # written column by column
    assert text_of(by_column) == "\n".join(" ".join(row[:2]) for row in rows)


def test_questions_and_answers_written_column_by_column_stay_rows():
    rows = [
        ("Did you eat anything before the test?", "yes no what?_____"),
        ("Did you drink any alcohol?", "yes no"),
    ] * 2
    content = "".join(shown(row[c], 50 + 250 * c, 700 - 14 * n) for c in range(2) for n, row in enumerate(rows))
    assert text_of(content) == "\n".join(" ".join(row) for row in rows)


def test_rows_of_figures_off_the_lines_of_their_labels_stay_rows():
    content = ""
    for n, figure in enumerate(["(31,874)", "64,457", "-", "2,159"]):
        content += shown("Changes in the fair value of assets", 50, 700 - 30 * n, 8)
        content += shown("measured at cost", 50, 691 - 30 * n, 8) + shown(figure, 300, 695.5 - 30 * n, 9)
    lines = text_of(content).split("\n")
    assert lines[1::3] == ["(31,874)", "64,457", "-", "2,159"]


def test_rows_that_no_rule_divides_stay_rows():
    cells = [["Adults", "Children", "Elderly"], ["20 mg", "15 mg", "10 mg"], ["daily", "weekly", "monthly"]]
    content = grid([40, 150, 250, 350], [600, 680, 700]) + "".join(
        shown(text, 50 + 100 * column, 686, 10) for column, text in enumerate(["Who", "Dose", "When"])
    )
    for column, lines in enumerate(cells):
        content += lines_at([line.capitalize() for line in lines], x=50 + 100 * column, y=665)
    assert (
        text_of(content)
        == "Who | Dose | When\nAdults | 20 mg | Daily\nChildren | 15 mg | Weekly\nElderly | 10 mg | Monthly"
    )


def test_a_word_that_crosses_a_rule_is_whole_and_a_wrapped_cell_is_one_row():
    content = grid([40, 150, 350], [600, 650, 700]) + shown("Zelnorinamide", 90, 680) + shown("20 mg", 200, 680)
    content += lines_at(["Halve the dose in", "the elderly and in hyper-", "tension."], x=160, y=640)
    content += shown("Note", 50, 640)
    assert text_of(content) == "Zelnorinamide | 20 mg\nNote | Halve the dose in the elderly and in hyper-tension."


def test_a_table_set_sideways_keeps_its_rows():
    content = grid([600 - 500, 600 - 470, 600 - 440], [100, 250, 400])
    rows = [("Adults", "20 mg"), ("Children", "15 mg")]
    for n, (who, dose) in enumerate(rows):
        content += shown(who, 118 + 30 * n, 110, 10, 90) + shown(dose, 118 + 30 * n, 260, 10, 90)
    assert text_of(content) == "Adults | 20 mg\nChildren | 15 mg"


@pytest.mark.parametrize("offset", [0.0, 0.3, 1.2])
def test_letters_printed_twice_stand_once(offset):
    twice = shown("Dose 15 mg illimitable", 50, 700, 14) + shown(
        "Dose 15 mg illimitable", 50 + offset, 700 - offset, 14
    )
    parsed = read(twice)
    assert parsed.text == "Page 1\n\nDose 15 mg illimitable"
    each, x = "", 50.0
    for letter, width in (("i", 0.222), ("l", 0.222), ("l", 0.222), ("n", 0.556), ("e", 0.556), ("s", 0.5), ("s", 0.5)):
        each += shown(letter, x, 700, 14) + shown(letter, x + offset / 4, 700, 14)
        x += 14 * width
    assert text_of(each) == "illness"


def test_a_watermark_stands_apart_and_is_no_title():
    content = shown("DRAFT", 200, 480, 80, 45)
    lines = [f"Line {n} of the protocol says give {n} mg daily." for n in range(8)]
    parsed = read(content + lines_at(lines, step=30))
    assert parsed.title == ""
    assert parsed.text == "Page 1\n\n" + "\n".join(lines) + "\n\nDRAFT"


def test_superscripts_keep_their_meaning():
    content, x = "", 50.0
    for text, size, y in (
        ("below 50 x 10", 10, 700),
        ("9", 6, 704),
        ("/L and H", 10, 700),
        ("2", 6, 698),
        ("O", 10, 700),
    ):
        content += shown(text, x, y, size, font="U")
        x += 0.6 * size * len(text)
    assert text_of(content) == "below 50 x 10^9/L and H2O"


def test_a_hyphen_at_the_end_of_a_line_stays():
    content = lines_at(["Zelnorin is contraindicated in uncontrolled hyper-", "tension and severe tachycardia."])
    assert text_of(content) == "Zelnorin is contraindicated in uncontrolled hyper-\ntension and severe tachycardia."


def test_a_sentence_runs_on_over_the_page():
    heading = shown("Zelnorin", 50, 750, 20)
    one = lines_at(["Stop it at once.", "Do not give", "this medicine to"])
    parsed = read(heading + one, lines_at(["patients with asthma.", "Ask the pharmacy."]))
    assert "this medicine to\npatients with asthma." in parsed.text


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ("Zelnorin in asthma", "Zelnorin in asthma"),
        ("Microsoft Word - letter.doc", "Ward rules"),
        ("untitled", "Ward rules"),
        ("Untitled document", "Ward rules"),
        ("zelnorin_v3.pdf", "Ward rules"),
        ("PowerPoint Presentation", "Ward rules"),
        ("C:\\\\scans\\\\0001", "Ward rules"),
        ("scan_0001", "Ward rules"),
        ("", "Ward rules"),
    ],
)
def test_the_title(given, title):
    content = shown("Hospital of Skerry", 50, 770, 10) + shown("Ward rules", 50, 740, 20)
    parsed = read(content + lines_at(["Ring the bell.", "Then wait here.", "Nobody talks."]), info=f"/Title ({given})")
    assert parsed.title == title


def test_a_large_line_below_body_text_is_no_title():
    body = lines_at([f"Body line {n} with ordinary words about the whole of the ward." for n in range(9)])
    assert read(body + shown("Storage", 50, 500, 16) + shown("Keep it cool.", 50, 480)).title == ""


def test_notes_in_the_margin_stand_apart_from_the_lines_that_they_meet():
    lines = [f"This is line {n} of a text that runs on over the whole width of its column" for n in range(12)]
    content = "".join(shown(line, 120, 700 - 12 * n) for n, line in enumerate(lines))
    content += "".join(shown(line, 480, 656 - 15 * n) for n, line in enumerate(["Another note", "that is", "longer"]))
    content += shown("One note", 40, 686, 11)
    text = text_of(content)
    assert "\n".join(lines) in text
    assert "Another note\nthat is\nlonger" in text
    assert "One note" in text


def test_columns_of_short_lines_behind_bullets_are_read_one_after_the_other():
    columns = [[f"{letter}{n} entry" for n in range(8)] for letter in "ab"]
    content = "".join(
        shown("\u2022", 50 + 200 * c, 700 - 14 * n - 7 * c, font="U") + shown(text, 65 + 200 * c, 700 - 14 * n - 7 * c)
        for c, column in enumerate(columns)
        for n, text in enumerate(column)
    )
    assert text_of(content).split() == [word for c in columns for text in c for word in ("\u2022", *text.split())]


def test_numbers_of_equations_stay_with_their_equations():
    prose = [f"Text number {n} that runs on for a whole line of its column" for n in range(6)]
    equations = [("f(x) = sin x", "(2.1)"), ("f(y) = sin y", "(2.2)")]
    content = "".join(shown(line, 50, 700 - 12 * n) for n, line in enumerate(prose))
    for n, (equation, number) in enumerate(equations):
        content += shown(equation, 90, 620 - 15 * n) + shown("2", 136, 624 - 15 * n, 6)
        content += shown(number, 300, 620 - 15 * n)
    content += "".join(shown(line, 50, 560 - 12 * n) for n, line in enumerate(prose))
    assert "\nf(x) = sin x^2 (2.1)\nf(y) = sin y^2 (2.2)\n" in text_of(content)


def test_a_narrow_cell_of_many_lines_in_the_head_of_a_table_is_one_cell():
    head = ["Prevention of", "stroke and", "embolism in", "adults with", "one or more", "risk factors", "for bleeding"]
    content = grid([50, 200, 300], [700, 600, 580]) + shown("Class", 55, 688) + shown("Anaemia", 55, 586)
    content += "".join(shown(line, 205, 688 - 12 * n) for n, line in enumerate(head)) + shown("Common", 205, 586)
    assert text_of(content).split("\n") == [f"Class | {' '.join(head)}", "Anaemia | Common"]


def test_a_cell_of_several_lines_in_a_table_without_rules_is_read_whole():
    head = shown("Age", 50, 694) + shown("Starting", 150, 700) + shown("dose", 150, 688) + shown("Route", 250, 694)
    rows = "".join(shown(cell, 50 + 100 * n, 660) for n, cell in enumerate(["Adults", "20 mg", "oral"]))
    text = text_of(head + rows)
    assert text.split("\n")[0] == "Age Starting dose Route"
    wrapped = shown("Hypersensitivity, allergic", 50, 640) + shown("Rare", 200, 640) + shown("oedema", 50, 628)
    assert "Hypersensitivity, allergic oedema Rare" in text_of(head + rows + wrapped)


def test_rows_of_words_in_lower_case_stay_rows():
    rows = [("aspirin", "daily"), ("warfarin",), ("heparin", "weekly")]
    content = "".join(
        shown(cell, 50 + 150 * c, 700 - 12 * n) for n, row in enumerate(rows) for c, cell in enumerate(row)
    )
    assert text_of(content) == "\n".join(" ".join(row) for row in rows)


@pytest.mark.parametrize("leading", [11, 12, 13, 14])
@pytest.mark.parametrize("shift", [0, 2, 3])
@pytest.mark.parametrize(
    "rows",
    [
        [("Sodium", "140", "", ""), ("Potassium", "6.8", "3.5 - 5.0", "High"), ("Chloride", "101", "", "")],
        [("Adults", ""), ("Children", "20 mg"), ("Elderly", "")],
        [("Normal kidneys", "20 mg", "Once daily"), ("eGFR below 30", "contraindicated", "")],
        [("Warfarin", "5 mg", "Daily"), ("with aspirin", "never", "")],
        [("Adults", "20 mg", "daily"), ("pregnant women", "", "")],
    ],
)
def test_values_stay_with_their_labels_in_dense_tables_without_rules(rows, leading, shift):
    content = "".join(
        shown(cell, 50 + 110 * c, 700 - leading * n - shift * (c == 1))
        for n, row in enumerate(rows)
        for c, cell in enumerate(row)
        if cell
    )
    assert text_of(content).split("\n") == [" ".join(filter(None, row)) for row in rows]


def test_tables_in_a_column_do_not_join_it_to_its_neighbour():
    def table(y, rows):
        cells = "".join(
            shown(cell, 55 + 110 * c, y - 14 * n) for n, row in enumerate(rows) for c, cell in enumerate(row)
        )
        return grid([50, 160, 270], [y + 10 - 14 * n for n in range(len(rows) + 1)]) + cells

    columns = [[f"{side} sentence number {n} has words." for n in range(8)] for side in ("Left", "Right")]
    content = table(740, [(f"Drug number {n} of ward", f"Give {n} mg at night") for n in range(6)])
    content += lines_at(columns[0], y=640) + table(530, [("Drug seven", "7 mg"), ("Drug eight", "8 mg")])
    text = text_of(content + lines_at(columns[1], x=380, y=640))
    assert text.split("\n\n")[1:] == [
        "\n".join(columns[0]),
        "Drug seven | 7 mg\nDrug eight | 8 mg",
        "\n".join(columns[1]),
    ]
