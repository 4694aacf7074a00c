"""Tables in a folder: each value stays behind its column's name, and nothing of the table is lost."""

import csv
import io
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdsframe.chunking.section import SectionChunker
from cdsframe.corpus.folder import Folder
from cdsframe.corpus.readers import READERS, Refused
from cdsframe.corpus.readers.table import read_table
from cdsframe.embedder import HashEmbedder
from cdsframe.text.units import unit_behind
from cdsframe.types import Document


def read(text, encoding="utf-8"):
    return read_table(text.encode(encoding), 1 << 20)


def lines(text, encoding="utf-8"):
    return read(text, encoding).text.split("\n\n")


PHONES = "Department,Extension,Bleep\nInfection Control,2041,118\nPharmacy,2050,\n"
ROWS = ["Department: Infection Control; Extension: 2041; Bleep: 118", "Department: Pharmacy; Extension: 2050"]


def test_a_folder_reads_tables(tmp_path):
    (tmp_path / "phone list.csv").write_text(PHONES, encoding="utf-8")
    (tmp_path / "rota.TSV").write_text("Day\tWho\nMonday\tDr Lee, Dr Roe\n", encoding="utf-8")
    (tmp_path / "doses.xlsx").write_bytes(b"PK")
    sheet, phones, rota = Folder(str(tmp_path), False, 1, 60, 0, None, ()).documents()
    assert (phones.id, phones.title, phones.text.split("\n\n")) == ("phone list.csv", "phone list", ROWS)
    assert (rota.title, rota.text) == ("rota", "Day: Monday; Who: Dr Lee, Dr Roe")
    assert sheet.reason.endswith("; save it as CSV")
    assert {".csv", ".tsv"} <= READERS.keys()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PHONES.replace(",", ";"), ROWS),
        (PHONES.replace(",", "\t"), ROWS),
        (PHONES.replace(",", "|").replace("\n", "\r"), ROWS),
        (f"sep=;\n{PHONES.replace(',', ';')}", ROWS),
        (f"\ufeff{PHONES}", ROWS),
        (f"Phones of March\n\n{PHONES}\n\n", ["Phones of March", *ROWS]),
        (f"Phones of March,,\n,,\n{PHONES}", ["Phones of March", *ROWS]),
        ("Infection Control,2041\nPharmacy,2050\n", ["Infection Control | 2041", "Pharmacy | 2050"]),
        ("Name\nAda\nImre\n", ["Name: Ada", "Name: Imre"]),
        ("Drug,Dose,\nA,1.10 mg,IV\nB,2,x,y\n", ["Drug: A; Dose: 1.10 mg; IV", "Drug: B; Dose: 2; x; y"]),
        ('Drug,Note\n"A, B","two\nlines"\nC,5" tube\n', ["Drug: A, B; Note: two lines", 'Drug: C; Note: 5" tube']),
        ("Only,names\n", ["Only | names"]),
        ("Ward,Bleep\nA,\nB,\n", ["Ward | Bleep", "Ward: A", "Ward: B"]),
    ],
)
def test_rows_are_lines_with_their_columns_names(text, expected):
    assert lines(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Do not give,Reason\nZ,asthma\n\nGive,Reason\nY,angina\nX,gout\n",
            ["Do not give: Z; Reason: asthma", "Give: Y; Reason: angina", "Give: X; Reason: gout"],
        ),
        (
            "Do not give,Reason,\nZ,asthma,\n,,\nGive,Cause,Dose\nY,angina,5 mg\n",
            ["Do not give: Z; Reason: asthma", "Give | Cause | Dose", "Y | angina | 5 mg"],
        ),
        (
            "Do not give,Since\nZ,2020\n\nGive these\nY,2021\n",
            ["Do not give: Z; Since: 2020", "Give these", "Y | 2021"],
        ),
        (
            "Do not give,Reason\nZ,asthma\nGive,Reason\nY,angina\n",
            ["Do not give: Z; Reason: asthma", "Give | Reason", "Y | angina"],
        ),
        ("Drug,Route\nA,oral\n\nB,iv\nC,iv\n", ["Drug: A; Route: oral", "B | iv", "C | iv"]),
        (
            "Drug,Dose\nA,5 mg\n\nB,6 mg\nC,7 mg\n",
            ["Drug: A; Dose: 5 mg", "Drug: B; Dose: 6 mg", "Drug: C; Dose: 7 mg"],
        ),
        ("Drug,Route\n\nA,oral\n\nB,iv\n", ["Drug: A; Route: oral", "Drug: B; Route: iv"]),
        ("Drug,Dose\nA,5\nDrug,Dose\nB,6\n", ["Drug: A; Dose: 5", "Drug: B; Dose: 6"]),
        (
            "Formulary 2025\n\nDrug,Dose\nZ,5\n\nNotes\nNever in asthma\n",
            ["Formulary 2025", "Drug: Z; Dose: 5", "Notes", "Never in asthma"],
        ),
        ("Formulary 2025\n\nName\nAda\nImre\n", ["Formulary 2025", "Name", "Ada", "Imre"]),
        (
            "Notes\nGive A, daily\nNot in asthma, ever\nStop\nAsk\n",
            ["Notes: Give A; daily", "Notes: Not in asthma; ever", "Notes: Stop", "Notes: Ask"],
        ),
    ],
)
def test_no_row_is_read_below_the_names_of_another_table(text, expected):
    assert lines(text) == expected


@pytest.mark.parametrize(
    "rows",
    [
        ["Zelnorin,5 mg", "Belzamine,6 mg", "Cor,7 mg"],
        ["Zelnorin,5mg", "Belzamine,half a tablet"],
        ["Zelnorin,<5 a day", "Belzamine,none"],
        ["Zelnorin,3 March", "Belzamine,never"],
        ["Zelnorin,up to 5 mg at night", "Belzamine,one puff"],
        ["Ward 3,oral", "Ward 4,iv"],
        ["Zelnorin,14 days,5 mg", "Belzamine,7 days,6 mg"],
        ["Zelnorin,5 years,9 years", "Belzamine,2 years,3 years"],
        ["Aspirin,yes", "Zelnorin,yes", "Cor,no"],
    ],
)
def test_a_first_row_with_values_names_no_column(rows):
    assert lines("\n".join(rows)) == [row.replace(",", " | ") for row in rows]


@pytest.mark.parametrize(
    "name",
    ["Vitamin B12", "Week 1", "1st line", "24-hour dose", "25OHD", "Most in 24 h", "Sodium (mmol/100 ml)", "ICD10",
     "Dose per 1 kg"],
)  # fmt: skip
def test_a_name_with_a_digit_in_it_names_its_column(name):
    assert lines(f"Drug,{name}\nA,5 mg\nB,J45\n") == [f"Drug: A; {name}: 5 mg", f"Drug: B; {name}: J45"]


def test_ages_of_several_columns_are_names():
    assert lines("Drug,<5 years,5-12 years\nA,5 mg,6 mg\n") == ["Drug: A; <5 years: 5 mg; 5-12 years: 6 mg"]


def test_a_quotation_mark_that_is_not_doubled_is_read_within_its_line():
    assert lines('drug,dose\nA,"5" mg\nB,10 mg\n') == ["drug: A; dose: 5 mg", "drug: B; dose: 10 mg"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (',,\n,"\n,1",\n', [",1"]),
        ('drug,note,route\nA,"see\nB,7 mg",oral\n', ["drug: A; note: see B,7 mg; route: oral"]),
        ('1,,x\n2,"see\n3,7 mg",x\n', ["1 | x", "2 | see 3,7 mg | x"]),
    ],
)
def test_a_value_whose_lines_look_like_rows_is_read_if_its_row_is_not_full_before_it(text, expected):
    assert lines(text) == expected


def test_old_encodings():
    assert lines("Station,Küche\nInnere,Müller\n", "cp1252") == ["Station: Innere; Küche: Müller"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('a,b\n1,2\n3,"open\n4,5\n', r"has a quotation mark that is not closed \(line 3\)"),
        ('drug,dose\nA,"5 mg\nB,10 mg\nC,15 mg"\nD,20 mg\n', r"has a quotation mark that is not closed \(line 2\)"),
        ('drug,dose,route\nA,"5 mg, daily,iv\nB,10 mg,iv\nC,15 mg,iv"\n', r"is not closed \(line 2\)"),
        ('drug,dose,route\nA,5 mg,iv\n,"10 mg,iv\n,15 mg,iv"\n', r"is not closed \(line 3\)"),
        ('drug,dose,route\nA,"5 mg\nB,10 mg,iv"\n', r"is not closed \(line 2\)"),
        ('drug,dose,route\nA,5 mg,"\nB,10 mg,"\n', r"is not closed \(line 2\)"),
        ('drug,dose\nA,"5 mg\nB,"10 mg" daily\n', r"that is not doubled \(line 3\)"),
        (",,\n,,\n", "has no text"),
        ("a,b\n1,\0\n", "is binary"),
    ],
)
def test_what_cannot_be_read_is_said(text, reason):
    with pytest.raises(Refused, match=reason):
        read(text)


def test_a_long_row_is_a_section_of_its_own_and_the_next_row_is_not_in_it():
    parsed = read(f"Drug,Advice,Route\nVelorapine,{'word ' * 200},IV\nOther,short,PO\n")
    texts = {section.heading: parsed.text[section.start : section.end] for section in parsed.sections}
    assert texts[("Drug: Velorapine",)] in ("Drug: Velorapine", "Route: IV")
    assert texts[("Drug: Velorapine", "Advice")].startswith("Advice: word")
    assert texts[()] == "Drug: Other; Advice: short; Route: PO"
    document = Document("d", "t", parsed.text, parsed.sections)
    for passage in SectionChunker(64, 8, ["title", "heading"], [], None, HashEmbedder()).split(document):
        assert ("Velorapine" in passage.search_text) != ("Other" in passage.search_text)


CELL = st.text("ab1é ,;\"'|\n.-", max_size=30)


def may_be_rows(rows):
    """Whether a row over several lines may be rows behind a quotation mark that is not closed (see `rows_of`)."""
    for row in rows:
        out = io.StringIO()
        csv.writer(out).writerow(row)
        later = [next(csv.reader([line]), []) for line in out.getvalue().splitlines()[1:]]
        full = len(row) != len(rows[0]) or any(
            n + 1 + value.partition("\n")[0].count(",") >= len(rows[0]) for n, value in enumerate(row) if "\n" in value
        )
        if full and any(len(values) == len(rows[0]) for values in later):
            return True
    return False


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(CELL, min_size=2, max_size=4), min_size=1, max_size=8))
@example([["", "", ""], ["", "\n,1", ""]])
@example([["a", "1"], ["b", "1\na,1\nb,1"]])
def test_no_word_is_lost(rows):
    """In order within each row; the columns' names stand before their values."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    wanted = re.findall(r"\w+", " ".join(" ".join(row) for row in rows))
    if not any(value.strip() for row in rows for value in row):
        with pytest.raises(Refused, match="has no text"):
            read(out.getvalue())
        return
    try:
        parsed = read(out.getvalue())
    except Refused:
        assert may_be_rows(rows)
        return
    shown = " ".join([*(" ".join(s.heading) for s in parsed.sections), parsed.text])
    assert not set(wanted) - set(re.findall(r"\w+", shown))


@pytest.mark.parametrize("title", ["Untitled", "untitled document", " "])
def test_a_placeholder_is_no_title(tmp_path, title):
    (tmp_path / "discharge.html").write_text(
        f"<html><head><title>{title}</title></head><body><p>{'Take it twice daily. ' * 20}</p></body></html>", "utf-8"
    )
    (document,) = Folder(str(tmp_path), True, 1, 60, 0, None, ()).documents()
    assert document.title == "discharge"


def test_a_quotation_mark_behind_a_blank_opens_a_value():
    assert lines('Drug, "Dose, max"\nA, "5, then 6"\n') == ["Drug: A; Dose, max: 5, then 6"]


def test_a_micro_sign_and_a_greek_letter_are_the_same_unit():
    for unit in ("\u00b5g", "\u03bcg", "mcg"):
        assert unit_behind(f"5 {unit}/kg", 1) == ("mcg/kg", len(f"5 {unit}/kg"))
        text = READERS[".csv"](f"Drug,Dose\nZelnorin,5 {unit}\n".encode(), 1 << 20).text
        assert f"5 {unit}" in text
