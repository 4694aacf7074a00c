"""Word files: every run that a reader of the document sees is read, wherever it stands; the rest is counted."""

import io
import zipfile

import pytest
from word_files import STYLES, field, make_docx, p, r, t, table, text_box, tr

from cdsframe.corpus.folder import read_file
from cdsframe.corpus.readers import Refused
from cdsframe.corpus.readers.word import read_docx

LIMIT = 1 << 20
TRACKED = 'w:id="1" w:author="A"'


def read(*body, **options):
    return read_docx(make_docx(*body, **options), LIMIT)


def sections_of(parsed):
    return [(section.heading, parsed.text[section.start : section.end]) for section in parsed.sections]


def omitted_of(parsed):
    return {item.reason: (item.count, item.text) for item in parsed.omitted}


def sdt(content, properties=""):
    return f"<w:sdt><w:sdtPr>{properties}</w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"


def test_runs_in_wrappers_are_read_and_deleted_ones_are_not():
    parsed = read(
        p("Dosing", style="Heading1"),
        p(
            "Maximum daily dose of Zelnorin is ",
            f"<w:del {TRACKED}><w:r><w:delText>40 mg</w:delText></w:r></w:del>",
            f"<w:ins {TRACKED}>{r('20 mg')}</w:ins>",
            " in adults.",
        ),
        p(f"<w:ins {TRACKED}>{r('Do not give Zelnorin in pregnancy.')}</w:ins>"),
        p(f"<w:moveTo {TRACKED}>{r('Check potassium weekly.')}</w:moveTo>"),
        p(f"<w:moveFrom {TRACKED}>{r('Check sodium weekly.')}</w:moveFrom>"),
        p(
            "Start with ",
            f'<w:smartTag w:element="x">{r("12 mg")}</w:smartTag>',
            ", then ",
            sdt(r("24 mg")),
            " and finally ",
            f'<w:fldSimple w:instr=" REF d ">{r("48 mg")}</w:fldSimple>',
            ". ",
            f'<w:customXml w:element="x">{r("Never above 60 mg.")}</w:customXml>',
        ),
        f'<w:customXml w:element="s">{p("Hold when INR is above 3.")}</w:customXml>',
        sdt(p("<w:hyperlink>" + r("See ") + r("page 3.") + "</w:hyperlink>")),
        p('<w:dir w:val="rtl">' + r("Last ") + "</w:dir>", "<w:bdo>" + r("line.") + "</w:bdo>"),
    )
    assert sections_of(parsed) == [
        (
            ("Dosing",),
            "Maximum daily dose of Zelnorin is 20 mg in adults.\n\nDo not give Zelnorin in pregnancy.\n\n"
            "Check potassium weekly.\n\nStart with 12 mg, then 24 mg and finally 48 mg. Never above 60 mg.\n\n"
            "Hold when INR is above 3.\n\nSee page 3.\n\nLast line.",
        )
    ]
    assert omitted_of(parsed) == {"deleted passages (tracked changes)": (2, False)}


def test_a_deleted_paragraph_mark_joins_and_a_deleted_row_goes():
    mark = f"<w:rPr><w:del {TRACKED}/></w:rPr>"
    parsed = read(
        p("Do not give ", properties=mark),
        p("in pregnancy."),
        p("N", properties='<w:framePr w:dropCap="drop"/>'),
        p("ever with warfarin."),
        table(tr("old", "40 mg", properties=f"<w:del {TRACKED}/>"), ["new", "20 mg"]),
    )
    assert parsed.text == "Do not give in pregnancy.\n\nNever with warfarin.\n\nnew | 20 mg"
    assert omitted_of(parsed) == {"deleted passages (tracked changes)": (1, False)}


def test_text_boxes_stand_once_and_notes_at_their_marks():
    notes = (
        '<w:footnote w:type="separator" w:id="0"><w:p/></w:footnote>'
        f'<w:footnote w:id="2">{p("Halve the dose when eGFR is below 30.")}</w:footnote>'
        f'<w:footnote w:id="3">{p("No mark names this.")}</w:footnote>'
    )
    parsed = read(
        p("Tavoxil", '<w:r><w:footnoteReference w:id="3"/></w:r>', style="Heading1"),
        p(
            text_box(p("WARNING: contraindicated in renal failure.", style="Heading1"), table(["5 mg", "10 mg"])),
            "Give 10 mg twice daily",
            '<w:r><w:footnoteReference w:id="2"/></w:r>',
            ".",
        ),
        p("See", '<w:r><w:endnoteReference w:id="1"/></w:r>'),
        footnotes=notes.replace("No mark names this.", "Brand name."),
        endnotes=f'<w:endnote w:id="1">{p("Trial of 2020.")}</w:endnote><w:endnote w:id="9">{p("Lost.")}</w:endnote>',
    )
    assert sections_of(parsed) == [
        (
            ("Tavoxil",),
            "(footnote: Brand name.)\n\nGive 10 mg twice daily (footnote: Halve the dose when eGFR is below 30.).\n\n"
            "WARNING: contraindicated in renal failure.\n\n5 mg | 10 mg\n\nSee (endnote: Trial of 2020.)",
        )
    ]
    assert omitted_of(parsed) == {"notes without a mark": (1, False)}


def test_only_the_results_of_fields_are_text():
    inner = field(" PAGE ", r("7"))
    open_ = '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
    box = (
        '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:default w:val="{}"/></w:checkBox></w:ffData>'
        "</w:fldChar></w:r><w:r><w:instrText>FORMCHECKBOX</w:instrText></w:r>"
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    parsed = read(
        p("Dose ", field(" REF x ", r("5 mg") + inner), " daily."),
        p("If ", field(inner, r("yes")), field(" XE secret ", "")),
        p(box.format(1), " asthma ", box.format(0), " porphyria"),
        p(open_, "A field without an end hides nothing."),
        p(f"<w:del {TRACKED}>{open_}</w:del>", field(" REF y ", r("Begin deleted.")), open_.replace("begin", "end")),
        p("Formula ", '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> EQ \\f(1,2)</w:instrText></w:r>'
          '<w:r><w:fldChar w:fldCharType="end"/></w:r>'),
    )  # fmt: skip
    assert parsed.text.split("\n\n") == [
        "Dose 5 mg7 daily.", "If yes", "☒ asthma ☐ porphyria", "A field without an end hides nothing.",
        "Begin deleted.", "Formula"
    ]  # fmt: skip
    assert omitted_of(parsed) == {
        "parts of field instructions": (1, False),
        "fields that Word draws (EQ, SYMBOL, AUTONUM)": (1, True),
    }


def unresolved(*instruction):
    """A complex field without a result."""
    marks = [f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "end")]
    code = "".join(
        item if item.startswith("<w:r>") else f'<w:r><w:instrText xml:space="preserve">{item}</w:instrText></w:r>'
        for item in instruction
    )
    return marks[0] + code + marks[1]


@pytest.mark.parametrize(
    ("instruction", "right"),
    [
        (" MACROBUTTON NoMacro Never in asthma ", "x Never in asthma y"),
        (' macrobutton "No Macro" [Never "in" asthma]', 'x [Never "in" asthma] y'),
        (" GOTOBUTTON chapter2 See chapter 2", "x See chapter 2 y"),
        (' QUOTE "never in asthma" \\* MERGEFORMAT ', "x never in asthma y"),
        (' QUOTE "say \\"stop\\" at once"', 'x say "stop" at once y'),
        (" XE hidden ", "x  y"),
        (" REF somewhere ", "x  y"),
        (" MACROBUTTON NoMacro ", "x  y"),
    ],
)
def test_the_words_that_a_field_shows_of_its_instruction_are_read(instruction, right):
    assert read(p("x ", unresolved(instruction), " y")).text == right
    simple = instruction.replace('"', "&quot;")
    assert read(p("x ", f'<w:fldSimple w:instr="{simple}"/>', " y")).text == right


def test_a_button_shows_the_result_of_a_field_within_it():
    inner = unresolved("MACROBUTTON NoMacro Give ", field(" REF dose ", r("5 mg")), " now")
    assert read(p("x ", inner)).text == "x Give 5 mg now"


@pytest.mark.parametrize(
    "kind", ["AUTONUM", "AUTONUMLGL", "autonumout", "LISTNUM NumberDefault", "DISPLAYBARCODE 1 QR"]
)
def test_a_field_that_word_numbers_or_draws_is_lost_text(kind):
    for element in (unresolved(f" {kind} "), f'<w:fldSimple w:instr=" {kind} "/>'):
        parsed = read(p(element, "Dose"))
        assert parsed.text == "Dose"
        assert omitted_of(parsed) == {"fields that Word draws (EQ, SYMBOL, AUTONUM)": (1, True)}


@pytest.mark.parametrize("body", [p('<w:subDoc r:id="x"/>', "Dose"), p('<w:r><w:subDoc r:id="x"/></w:r>', "Dose"),
                                  '<w:subDoc r:id="x"/>' + p("Dose")])  # fmt: skip
def test_a_part_of_a_master_document_is_lost_text(body):
    parsed = read(body)
    assert parsed.text == "Dose"
    assert omitted_of(parsed) == {"embedded documents that cannot be read": (1, True)}


def test_hidden_struck_and_placeholder_text_is_counted():
    styles = STYLES + (
        '<w:style w:type="character" w:styleId="Gone"><w:rPr><w:vanish/></w:rPr></w:style>'
        '<w:style w:type="character" w:styleId="Child"><w:basedOn w:val="Gone"/></w:style>'
    )
    parsed = read(
        p("Give ", r("40 mg ", "<w:strike/>"), r("20 mg", '<w:strike w:val="0"/>'), r(" secret", "<w:vanish/>")),
        p(r("by style", '<w:rStyle w:val="Child"/>'), r("shown", '<w:rStyle w:val="Child"/><w:vanish w:val="false"/>')),
        sdt(p("Click here to enter text."), "<w:showingPlcHdr/>"),
        table(["a", sdt(f"<w:tc>{p('b')}</w:tc>")], sdt(tr("c", "d"))),
        styles=styles,
    )
    assert parsed.text == "Give 20 mg\n\nshown\n\na | b\nc | d"
    assert omitted_of(parsed) == {
        "struck-out passages": (1, False),
        "hidden passages": (2, False),
        "prompts of empty form fields": (1, False),
    }


def test_furniture_comments_and_pictures_are_counted():
    parsed = read(
        p("Text.", "<w:r><w:drawing><pic:pic/></w:drawing></w:r>", "<w:r><w:object><v:imagedata/></w:object></w:r>"),
        header=p("On every page"),
        footer=p(),
        comments=f'<w:comment w:id="1">{p("Is this right?")}</w:comment>',
    )
    assert parsed.text == "Text."
    assert omitted_of(parsed) == {
        "pictures": (2, False),
        "embedded objects": (1, False),
        "page headers and footers": (1, False),
        "comments": (1, False),
    }


SUP, SUB = (f'<w:vertAlign w:val="{kind}"/>' for kind in ("superscript", "subscript"))


@pytest.mark.parametrize(
    ("parts", "right"),
    [
        (["1.5 x 10", r("9", '<w:vertAlign w:val="superscript"/>'), "/L"], "1.5 x 10^9/L"),
        (["10", *[r(sign, '<w:vertAlign w:val="superscript"/>') for sign in "-3"], " mol"], "10^-3 mol"),
        (["10", r("9", '<w:rStyle w:val="Up"/>'), "/L"], "10^9/L"),
        (["10", r("9", '<w:position w:val="6"/><w:sz w:val="14"/>'), "/L"], "10^9/L"),
        (["10", r("9 ", SUP), "5 mg"], "10^9 5 mg"),
        (["10", r("9", SUP), "5 mg"], "10^9 5 mg"),
        (["5 mg/m", r("2 ", SUP), "daily"], "5 mg/m^2 daily"),
        (["10", r("2 ", SUB), "5"], "10_2 5"),
        (["CO", r("2", SUB), "10 mmHg"], "CO2 10 mmHg"),
        (["1", r("1", SUP), "/", r("2", SUB), " tablets"], "1 1/2 tablets"),
        (["1 ", r("1", SUP), "\u2044", r("2", SUB), " tablets"], "1 1/2 tablets"),
        (["10", r("9", '<w:position w:val="6"/>'), "/L"], "10^9/L"),
        (["log10", r("2", '<w:position w:val="-6"/>')], "log10_2"),
        (["10", r("9", '<w:position w:val="1"/>')], "109"),
        ([r("Dose 5 mg", '<w:position w:val="6"/>')], "Dose 5 mg"),
        (["H", r("2", '<w:vertAlign w:val="subscript"/>'), "O"], "H2O"),
        (["5 ", r("m", '<w:rFonts w:ascii="Symbol" w:hAnsi="Symbol"/>'), "g"], "5 μg"),
        (['<w:r><w:sym w:font="Symbol" w:char="F0B3"/></w:r>', " 3"], "≥ 3"),
        ([r("\u00b3\u00a0m", '<w:rFonts w:ascii="Symbol"/>'), "g"], "≥\u00a0μg"),
        ([r("\uf0a3", '<w:rFonts w:ascii="Symbol"/>'), " 3"], "≤ 3"),
        ([r("£", '<w:rFonts w:ascii="SymbolMT" w:hAnsi="SymbolMT"/>'), " 3"], "≤ 3"),
        ([r("\uf0a3", '<w:rFonts w:ascii="Symbol MT" w:hAnsi="Symbol MT"/>'), " 3"], "≤ 3"),
        ([r("K £", '<w:rFonts w:ascii="Calibri" w:hAnsi="Symbol"/>'), " 3"], "K ≤ 3"),
        ([r("£5", '<w:rFonts w:ascii="Symbolia" w:hAnsi="Symbolia"/>')], "£5"),
        (["a", "<w:r><w:tab/></w:r>", "b", "<w:r><w:noBreakHyphen/></w:r>", "c", "<w:r><w:softHyphen/></w:r>", "d"],
         "a\tb-cd"),
        (["a", "<w:r><w:br/></w:r>", "b"], "a\nb"),
        ([r("Do Not", "<w:caps/>")], "Do Not"),
        ([f"<w:r><w:ruby><w:rt>{r('kana')}</w:rt><w:rubyBase>{r('字')}</w:rubyBase></w:ruby></w:r>"], "字(kana)"),
        (['<w:r><w:pict><v:shape><v:textpath string="DRAFT"/></v:shape></w:pict></w:r>'], "DRAFT"),
    ],
)  # fmt: skip
def test_signs_keep_their_meaning(parts, right):
    styles = '<w:style w:type="character" w:styleId="Up"><w:rPr><w:vertAlign w:val="superscript"/></w:rPr></w:style>'
    parsed = read(p(*parts), styles=styles)
    assert parsed.text == right
    assert parsed.omitted == ()


LINE = '<w:u w:val="single"/>'


@pytest.mark.parametrize(
    ("parts", "right"),
    [
        (["K ", r("&lt;", LINE), " 3, age ", r(" &gt; ", LINE), "18"], "K ≤ 3, age  ≥ 18"),
        (["5 ", r("+", LINE), " 2 mg, protein ", r("+", LINE)], "5 ± 2 mg, protein +"),
        ([r("&lt;", LINE), r("5", '<w:vertAlign w:val="superscript"/>')], "≤^5"),
        ([r("&lt;", '<w:rStyle w:val="Under"/>'), " 3"], "≤ 3"),
        ([r("K ", LINE), r("&lt;", LINE + "<w:b/>"), r(" 3", LINE)], "K < 3"),
        ([r("K", LINE), " ", r("&lt;", LINE), " ", r("3", LINE)], "K < 3"),
        ([r("K &lt; 3", LINE)], "K < 3"),
        (["K ", r("&lt;", '<w:u w:val="none"/>'), " 3"], "K < 3"),
        (["K ", r("&lt;", '<w:u w:val="wave"/>'), " 3"], "K < 3"),
        (["K ", r("&lt;", '<w:rStyle w:val="Under"/><w:u w:val="none"/>'), " 3"], "K < 3"),
        (["K ", f'<w:ins w:id="1" w:author="a">{r("&lt;")}</w:ins>', " 3"], "K < 3"),
    ],
)
def test_a_comparator_on_a_line_of_its_own_is_or_equal(parts, right):
    styles = f'<w:style w:type="character" w:styleId="Under"><w:rPr>{LINE}</w:rPr></w:style>'
    assert read(p(*parts), styles=styles).text == right


def test_a_sign_without_a_meaning_is_lost_text():
    parsed = read(p("a ", '<w:r><w:sym w:font="Webdings" w:char="F041"/></w:r>'))
    assert omitted_of(parsed) == {"symbols without a Unicode meaning": (1, True)}


@pytest.mark.parametrize(
    ("formula", "right"),
    [
        ("<m:f><m:num><m:r><m:t>1</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>", "1/2"),
        ("<m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>", "(a+b)/2"),
        ("<m:sSup><m:e><m:r><m:t>10</m:t></m:r></m:e><m:sup><m:r><m:t>9</m:t></m:r></m:sup></m:sSup>", "10^9"),
        ("<m:sSub><m:e><m:r><m:t>C</m:t></m:r></m:e><m:sub><m:r><m:t>max</m:t></m:r></m:sub></m:sSub>", "C_max"),
        ("<m:rad><m:deg/><m:e><m:r><m:t>x</m:t></m:r></m:e></m:rad>", "√(x)"),
        ("<m:d><m:e><m:r><m:t>140-age</m:t></m:r></m:e></m:d>", "(140-age)"),
    ],
)
def test_formulas_keep_fractions_and_powers(formula, right):
    assert read(p("f = ", f"<m:oMath>{formula}</m:oMath>")).text == f"f = {right}"


def math(*content):
    return f"<m:oMath>{''.join(content)}</m:oMath>"


def mr(text):
    return f"<m:r><m:t>{text}</m:t></m:r>"


HALF = f"<m:f><m:num>{mr(1)}</m:num><m:den>{mr(2)}</m:den></m:f>"
BILLION = f"<m:sSup><m:e>{mr(10)}</m:e><m:sup>{mr(9)}</m:sup></m:sSup>"
CARBON = f"<m:sPre><m:sub>{mr(6)}</m:sub><m:sup>{mr(14)}</m:sup><m:e>{mr('C')}</m:e></m:sPre>"


@pytest.mark.parametrize(
    ("parts", "right"),
    [
        (["Give ", math(mr(2), HALF), " tablets"], "Give 2 1/2 tablets"),
        (["Give 2", math(HALF), " tablets"], "Give 2 1/2 tablets"),
        (["Give ", math(HALF), math(HALF)], "Give 1/2 1/2"),
        ([math(BILLION), "5 mg"], "10^9 5 mg"),
        ([math(BILLION, mr(5), mr(0), mr(" mg"))], "10^9 50 mg"),
        ([math(BILLION, mr("/L"))], "10^9/L"),
        ([math(mr(2), CARBON)], "2 _6^14C"),
        ([math(mr("x"), HALF)], "x 1/2"),
        ([math(mr(10), f"<m:sSup><m:e/><m:sup>{mr(9)}</m:sup></m:sSup>")], "10^9"),
        ([math(mr(1)), math(mr(0)), " mg"], "10 mg"),
        ([f"<m:oMathPara>{math(mr('x=1'))}{math(mr('5 mg'))}</m:oMathPara>"], "x=1\n5 mg"),
    ],
)
def test_a_formula_does_not_run_into_a_number(parts, right):
    assert read(p(*parts)).text == right


def test_headings_come_from_outline_levels():
    styles = STYLES + (
        '<w:style w:type="paragraph" w:styleId="Ber1"><w:name w:val="Überschrift 1"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Own"><w:name w:val="Hospital"/><w:basedOn w:val="Heading1"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Toc"><w:name w:val="TOC Heading"/><w:basedOn w:val="Heading1"/>'
        '<w:pPr><w:outlineLvl w:val="9"/></w:pPr></w:style>'
    )
    parsed = read(
        p("Einleitung", style="Ber1"),
        p("eins"),
        p("Dosierung", style="Own"),
        p("zwei"),
        p("Warnung", properties='<w:outlineLvl w:val="1"/>'),
        p("drei"),
        p("Contents", style="Toc"),
        p("Never with warfarin", style="Heading2"),
        p("x" * 301, style="Heading1"),
        styles=styles,
    )
    assert sections_of(parsed) == [
        (("Einleitung",), "eins"),
        (("Dosierung",), "zwei"),
        (("Dosierung", "Warnung"), "drei\n\nContents"),
        (("Dosierung", "Never with warfarin"), "x" * 301),
    ]
    unknown = read(p("Dose", style="Heading2"), p("5 mg"), styles="")
    assert sections_of(unknown) == [(("Dose",), "5 mg")]


def test_a_heading_without_text_is_a_section():
    parsed = read(*(p(text, style="Heading1") for text in ("Zelnorin", "Contraindicated in porphyria")))
    assert sections_of(parsed) == [((text,), text) for text in ("Zelnorin", "Contraindicated in porphyria")]


TITLE = '<w:style w:type="paragraph" w:styleId="Titel"><w:name w:val="Title"/></w:style>'


@pytest.mark.parametrize(
    ("core", "right"),
    [
        (None, "Zelnorin guideline"), ("Word Document", "Zelnorin guideline"), ("Document1", "Zelnorin guideline"),
        ("Microsoft Word - old.doc", "Zelnorin guideline"), (" untitled ", "Zelnorin guideline"),
        ("[Document title]", "Zelnorin guideline"), ("", "Zelnorin guideline"),
        ("Doses of zelnorin", "Doses of zelnorin"),
    ],
)  # fmt: skip
def test_a_programs_default_is_no_title(tmp_path, core, right):
    (tmp_path / "a.docx").write_bytes(make_docx(p("Zelnorin guideline", style="Heading1"), p("20 mg."), title=core))
    document, _ = read_file(("a.docx", tmp_path / "a.docx"), tmp_path, LIMIT, 60)
    assert document.title == right


def test_the_style_title_names_the_document_and_stays_in_it(tmp_path):
    body = [
        p("Falls protocol,", style="Titel"),
        p("ward 4B", style="Titel"),
        p("After a fall", style="Heading1"),
        p("x"),
    ]
    (tmp_path / "a.docx").write_bytes(make_docx(*body, styles=STYLES + TITLE, title="Old template of 1999"))
    document, _ = read_file(("a.docx", tmp_path / "a.docx"), tmp_path, LIMIT, 60)
    assert document.title == "Falls protocol, ward 4B"
    assert [section.heading for section in document.sections] == [("After a fall",)]
    boxed = make_docx(p(text_box(p("Cover title", style="Titel"))), p("x"), styles=STYLES + TITLE)
    assert read_docx(boxed, LIMIT).title == "Cover title"


EMPTY_RUN = '<w:r><w:rPr><w:rFonts w:ascii="Symbol"/></w:rPr></w:r>'
PICTURE = "<w:r><w:drawing><pic:pic/></w:drawing></w:r>"


@pytest.mark.parametrize("result", ["", EMPTY_RUN, r(" ")])
def test_a_field_with_an_empty_result_counts_as_one_without(result):
    parsed = read(p("Take ", field(" EQ \\f(1,2) ", result), " tablet"))
    assert " ".join(parsed.text.split()) == "Take tablet"
    assert omitted_of(parsed) == {"fields that Word draws (EQ, SYMBOL, AUTONUM)": (1, True)}
    quoted = read(p("x ", field(' QUOTE "never give" ', result), " y"))
    assert " ".join(quoted.text.split()) == "x never give y"


@pytest.mark.parametrize("result", [r("½"), '<w:r><w:sym w:font="Symbol" w:char="F0A3"/></w:r>', PICTURE])
def test_a_field_with_a_result_is_not_counted(result):
    omitted = omitted_of(read(p("Take ", field(" EQ \\f(1,2) ", result), " tablet")))
    assert "fields that Word draws (EQ, SYMBOL, AUTONUM)" not in omitted


@pytest.mark.parametrize(
    ("instruction", "right"),
    [
        (' SYMBOL 163 \\f "Symbol" \\s 12 ', "dose ≤ 5 mg"),
        ("symbol 0xA3 \\s 12 \\f Symbol", "dose ≤ 5 mg"),
        (' SYMBOL 163 \\f "Arial" ', None),
        (" SYMBOL 163 ", None),
    ],
)
def test_a_symbol_field_without_a_result_shows_its_sign_or_is_counted(instruction, right):
    for element in (unresolved(instruction), field(instruction, EMPTY_RUN)):
        parsed = read(p("dose ", element, " 5 mg"))
        counted = omitted_of(parsed) == {"fields that Word draws (EQ, SYMBOL, AUTONUM)": (1, True)}
        assert parsed.text == right if right else counted


def numbered(id_, depth=0):
    return f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{id_}"/></w:numPr>'


def level(depth, format_, text, more=""):
    inner = f'<w:start w:val="1"/><w:numFmt w:val="{format_}"/>{more}<w:lvlText w:val="{text}"/>'
    return f'<w:lvl w:ilvl="{depth}">{inner}</w:lvl>'


NUMBERING = (
    '<w:abstractNum w:abstractNumId="0">'
    + level(0, "decimal", "%1", '<w:pStyle w:val="Heading1"/>')
    + level(1, "decimal", "%1.%2", '<w:pStyle w:val="Heading2"/>')
    + level(2, "lowerRoman", "(%3)")
    + level(3, "decimal", "%1.%3.%4", "<w:isLgl/>")
    + '</w:abstractNum><w:abstractNum w:abstractNumId="1">'
    + level(0, "bullet", "\uf0b7")
    + level(1, "upperLetter", "%2.")
    + '</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    '<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
    '<w:num w:numId="3"><w:abstractNumId w:val="0"/>'
    '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride></w:num>'
)


def test_numbers_and_bullets_are_computed():
    styles = STYLES.replace('<w:name w:val="heading 1"/><w:pPr>', '<w:name w:val="heading 1"/><w:pPr>' + numbered(1))
    styles = styles.replace('<w:name w:val="heading 2"/><w:pPr>', '<w:name w:val="heading 2"/><w:pPr>' + numbered(1))
    parsed = read(
        p("Dosing", style="Heading1"),
        p("Adults", style="Heading2"),
        p("Children", style="Heading2"),
        p("first", properties=numbered(1, 2)),
        p("second", properties=numbered(1, 2)),
        p("legal", properties=numbered(1, 3)),
        p("Storage", style="Heading1"),
        p("Cold", style="Heading2"),
        p("bullet", properties=numbered(2)),
        p("A", properties=numbered(2, 1)),
        p("restarted", properties=numbered(3)),
        p("none", style="Heading1", properties='<w:numPr><w:numId w:val="0"/></w:numPr>'),
        styles=styles,
        numbering=NUMBERING,
    )
    assert sections_of(parsed) == [
        (("1 Dosing", "1.1 Adults"), "1.1 Adults"),
        (("1 Dosing", "1.2 Children"), "(i) first\n\n(ii) second\n\n1.2.1 legal"),
        (("2 Storage", "2.1 Cold"), "- bullet\n\nA. A\n\n5 restarted"),
        (("none",), "none"),
    ]


@pytest.mark.parametrize(
    ("bullet", "right"), [("Never:", "Never: give it"), ("o", "- give it"), ("\uf0b7", "- give it"), ("", "- give it")]
)
def test_words_that_stand_as_a_bullet_are_kept(bullet, right):
    bullets = f'<w:abstractNum w:abstractNumId="0">{level(0, "bullet", bullet)}</w:abstractNum>'
    numbering = bullets + '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    assert read(p("give it", properties=numbered(1)), numbering=numbering).text == right
    symbols = numbering.replace("</w:lvl>", '<w:rPr><w:rFonts w:ascii="Wingdings"/></w:rPr></w:lvl>')
    assert read(p("give it", properties=numbered(1)), numbering=symbols).text == "- give it"


def test_the_numbers_of_cells_without_text_are_read_and_bullets_are_not():
    row = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>'
    bullet = row.replace('numId w:val="1"', 'numId w:val="2"')
    lists = "".join(
        f'<w:abstractNum w:abstractNumId="{n}"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="{format_}"/>'
        f'<w:lvlText w:val="{text}"/></w:lvl></w:abstractNum>'
        f'<w:num w:numId="{n}"><w:abstractNumId w:val="{n}"/></w:num>'
        for n, format_, text in ((1, "decimal", "%1."), (2, "bullet", "o"))
    )
    body = table(
        (p(properties=row), "Zelnorin", p(properties=bullet), "5 mg"),
        (p(properties=row), "Belzamine", p(properties=bullet), "6 mg"),
    )
    assert read(body, p(properties=row), p("See row 2."), numbering=lists).text == (
        "1. | Zelnorin |  | 5 mg\n2. | Belzamine |  | 6 mg\n\nSee row 2."
    )


def test_table_cells_keep_their_columns():
    def wide(text):
        return f'<w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr>{p(text)}</w:tc>'

    assert (
        read(
            table(
                ["drug", wide("dose"), "note"],
                ["z", "5 mg", "10 mg", p("one") + p("two")],
                tr("late", properties='<w:gridBefore w:val="3"/>'),
                [p("in") + table(["a", "b"], ["c", "d"]), "x"],
            )
        ).text
        == "drug | dose |  | note\nz | 5 mg | 10 mg | one; two\n |  |  | late\nin; a | b; c | d | x"
    )
    framed = read(table([p("Dose", style="Heading1") + p("5 mg") + p("Storage", style="Heading1") + p("cold")]))
    assert sections_of(framed) == [(("Dose",), "5 mg"), (("Storage",), "cold")]


def test_charts_diagrams_and_embedded_documents():
    chart = (
        "<c:chartSpace><c:title><a:p><a:r><a:t>Falls</a:t></a:r></a:p></c:title><c:ser><c:tx><c:v>2024</c:v></c:tx>"
        '<c:cat><c:pt idx="0"><c:v>May</c:v></c:pt></c:cat><c:val><c:pt idx="0"><c:v>7</c:v></c:pt></c:val></c:ser>'
        "</c:chartSpace>"
    )
    diagram = (
        "<dgm:dataModel><dgm:pt><dgm:t><a:p><a:r><a:t>Call 2222</a:t></a:r></a:p></dgm:t></dgm:pt></dgm:dataModel>"
    )
    parsed = read(
        p("Before", '<w:r><w:drawing><c:chart r:id="k"/><dgm:relIds r:dm="d"/></w:drawing></w:r>'),
        '<w:altChunk r:id="h"/>',
        '<w:altChunk r:id="b"/>',
        parts={
            "k": ("chart", "charts/c.xml", chart),
            "d": ("diagramData", "d.xml", diagram),
            "h": ("aFChunk", "h.html", "<p>From a page</p>"),
            "b": ("aFChunk", "b.bin", "?"),
        },
    )
    assert parsed.text == "Before\n\nFalls\n| 2024\nMay | 7\n\nCall 2222\n\nFrom a page"
    assert omitted_of(parsed) == {"embedded documents that cannot be read": (1, True)}


def test_strict_files_are_read_and_others_refused_in_words():
    assert read(p("Dose", style="Heading1"), p("5 mg"), strict=True).sections[0].heading == ("Dose",)
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("x", "")
    for data, reason in [
        (b"{\\rtf1 x}", "is in the RTF format; save it as .docx"),
        (b"PK broken", "is not a readable .docx: it is not a zip archive, or the archive is damaged"),
        (empty.getvalue(), "is not a readable .docx: it has no document part"),
        (make_docx("<w:p>"), "is not a readable .docx: its document part is damaged"),
        (make_docx(p(f"<w:del>{r('gone')}</w:del>")), "has no text; left out: 1 deleted passages (tracked changes)"),
    ]:
        with pytest.raises(Refused) as refused:
            read_docx(data, LIMIT)
        assert str(refused.value) == reason


def test_a_damaged_part_is_counted():
    parsed = read(p("Text.", f'<w:r>{t("")}<w:footnoteReference w:id="2"/></w:r>'), footnotes="<w:footnote>")
    assert omitted_of(parsed) == {"damaged parts": (1, True)}
