"""Web pages: each word is read in its place, keeps its meaning, or is counted; no part of the source hides the rest."""

import time

import pytest
from corpus_files import sections_of

from cdsframe.corpus.folder import read_file
from cdsframe.corpus.readers.html import read_html
from cdsframe.corpus.readers.parsed import Refused

PARAGRAPHS = "".join(f"<p>Zelnorin paragraph {n}: give {n} mg and watch the kidneys.</p>" for n in range(1, 9))
EIGHT = "\n\n".join(f"Zelnorin paragraph {n}: give {n} mg and watch the kidneys." for n in range(1, 9))


def parsed(page, encoding="utf-8"):
    return read_html(page if isinstance(page, bytes) else page.encode(encoding), 1 << 20)


def text_of(page):
    return parsed(page).text


def omitted(page):
    return {item.reason: item.count for item in parsed(page).omitted}


def declared(label, text, encoding):
    head = f"<html><head><meta charset={label}></head><body><p>".encode("ascii")
    return head + text.encode(encoding) + b"</p><h2>Warning</h2><p>Never in asthma.</p></body></html>"


@pytest.mark.parametrize(
    ("label", "text", "encoding"),
    [
        ("us-ascii", "Give 5–10 mg", "cp1252"),
        ("iso-8859-1", "“stat” – €5", "cp1252"),
        ("gb2312", "每日二十㎎口服", "gb18030"),
        ("shift_jis", "一日①２０㎎", "cp932"),
        ("euc-kr", "똠방각하", "cp949"),
        ("iso-8859-9", "“ağrı”", "cp1254"),
        ("big5", "孕婦禁用", "big5"),
        ("tis-620", "ห้ามใช้", "cp874"),
        ("iso-2022-jp", "一日二回", "iso-2022-jp"),
        ("utf-16", "Größe", "utf-8"),
        ("x-user-defined", "5–10", "cp1252"),
        ("windows-1252", "Größe µg", "utf-8"),
        ("utf-8", "Größe µg", "cp1252"),
        ("no-such-label", "Größe", "cp1252"),
    ],
)
def test_a_page_is_decoded_as_browsers_do_or_better(label, text, encoding):
    page = parsed(declared(label, text, encoding))
    assert page.text == f"{text}\n\nWarning\n\nNever in asthma."
    assert not page.omitted


def test_odd_bytes_are_replaced_and_counted_and_the_rest_is_read():
    page = parsed(b"<meta charset=windows-1252><p>Give 5 mg \x81 daily.</p><p>Never in asthma.</p>")
    assert page.text == "Give 5 mg \ufffd daily.\n\nNever in asthma."
    assert [(item.reason, item.count, item.text) for item in page.omitted] == [
        ("letters that cannot be decoded", 1, True)
    ]


def test_a_wrong_declaration_is_logged():
    assert parsed(declared("windows-1252", "Größe", "utf-8")).remark == (
        "declares the encoding cp1252 but is UTF-8; read as utf-8"
    )
    assert parsed(declared("utf-8", "Größe", "cp1252")).remark == (
        "declares the encoding utf-8 but is not in it; read as cp1252"
    )


def test_control_characters_do_not_end_a_page():
    page = b"<h1>A\0</h1><p>Give\x01 5\x0bmg</p><p>&#0;&#x80;</p><p>Never.</p>"
    assert text_of(page) == "A\n\nGive 5 mg\n\n\ufffd€\n\nNever."
    assert omitted(page) == {"control characters": 3}


@pytest.mark.parametrize(
    ("page", "right"),
    [
        ("<p>5 mg<br>10 mg</p>", "5 mg 10 mg"),
        ("<h1>Dose<br>10 mg</h1><p>x", "Dose 10 mg\n\nx"),
        ("<dl><dt>Dose<dd>5 mg<dd>10 mg</dl>", "Dose\n\n5 mg\n\n10 mg"),
        ("<ul><li>1<li>5 mg</ul>", "1\n\n5 mg"),
        ("<ol start=3><li>wash</li><li>dry</li></ol>", "3. wash\n\n4. dry"),
        ("<div>1<div>5 mg</div>2</div>", "1\n\n5 mg\n\n2"),
        ("<p>1<span style='display:block'>5 mg</span></p>", "1\n\n5 mg"),
        ("<p>zel&shy;no<wbr>rin 5&nbsp;mg", "zelnorin 5 mg"),
        ("<pre>Na   140\n  K  4</pre>", "Na   140\n  K  4"),
        ("<textarea>1\n5 mg</textarea>", "1\n5 mg"),
        ("<svg><text>1</text><text>5 mg</text></svg>", "1\n\n5 mg"),
        ("<p>1<del>0</del>5 mg", "1 5 mg"),
        ("<details><summary>Dose</summary>5 mg</details>", "Dose\n\n5 mg"),
        ("<p>Dose <input value='5'> mg <input type=checkbox checked> daily", "Dose 5 mg [x] daily"),
        ("<p>Give <select><option>5 mg<option selected>10 mg</select>", "Give 10 mg"),
        ("<p>Asthma: <img src=x alt=no> beta blocker", "Asthma: no beta blocker"),
        ("<iframe srcdoc='<p>1</p><p>5 mg</p>'></iframe>", "1\n\n5 mg"),
        ("<p><ruby>投与<rt>とうよ</rt></ruby>する", "投与する"),
        ("<math><msup><mn>10</mn><mn>9</mn></msup><mo>/</mo><mi>L</mi></math>", "10^9/L"),
        ("<math><mfrac><mn>1</mn><mn>2</mn></mfrac></math> tablet", "1/2 tablet"),
        ("<p>1.5 x 10<sup>9</sup>/L above 10<sup>2</sup>, 5 mg<sup>2</sup>", "1.5 x 10^9/L above 10^2, 5 mg^2"),
        ("<p>Clearance <u>&lt;</u> 30, dose <u> &gt; </u>5", "Clearance ≤ 30, dose ≥ 5"),
        ("<p><u>Dose &lt; 30</u>", "Dose < 30"),
        ("<p>10<span style='vertical-align: super'>9</span>/L", "10^9/L"),
        ("<p><a>one</a><a>two</a> <span class=d>1</span><span class=u>5 mg</span>", "one two 1 5 mg"),
        ("<p>log<sub>10</sub>2, 10<sup>9</sup>5", "log10 2, 10^9 5"),
        ('<p>Take <a href="x>5 mg</a> daily. <a href="y">Never</a> in asthma', "Take 5 mg daily. Never in asthma"),
        ("<p title='a > b'>5 <a href='x?a=1&b=>2'>mg</a>", "5 mg"),
        ("<p><span class=d>26.09.2019</span>Komoot 5<b>HT</b>", "26.09.2019 Komoot 5HT"),
        ("<p><span>zel</span><span>norin</span> <b>H</b><sub>2</sub>O B<i>12</i>", "zelnorin H2O B12"),
        ("<div role=heading aria-level=2>Dose</div>5 mg", "Dose\n\n5 mg"),
    ],
)
def test_words_are_divided_and_typography_keeps_its_meaning(page, right):
    assert text_of(page) == right


@pytest.mark.parametrize(
    ("page", "right"),
    [
        ("K <u><b>&lt;</b></u> 3", "K ≤ 3"),
        ("<b><u>&gt;</u></b> 3", "≥ 3"),
        ("<span style='text-decoration: underline'>&gt;</span> 3", "≥ 3"),
        ("<span style='text-decoration-line:underline'><i>&gt;</i></span> 3", "≥ 3"),
        ("<span style='border-bottom: 1px solid'>&lt;</span> 3", "≤ 3"),
        ("<span class='b underline'>&lt;</span> 3", "≤ 3"),
        ("<ins>&gt;</ins> 3", "≥ 3"),
        ("5 <u>+</u> 2 mg", "5 ± 2 mg"),
        ("protein <u>+</u>, seen", "protein +, seen"),
        ("<del>&lt;</del><ins>&gt;</ins> 3", "> 3"),
        ("<ins datetime=2025-01-01>&gt;</ins> 3", "> 3"),
        ("<u>K </u><u><b>&lt;</b></u><u> 3</u>", "K < 3"),
        ("<u>K <span style='text-decoration:underline'>&lt;</span> 3</u>", "K < 3"),
        ("<u>K <b>&lt;</b></u> 3", "K < 3"),
        ("<span style='border-bottom: none'>&lt;</span> 3", "< 3"),
    ],
)
def test_a_comparator_above_a_line_of_its_own_is_or_equal(page, right):
    assert text_of(f"<p>{page}") == right
    assert text_of(f"<table><tr><td>a<td>{page}</table>") == f"a | {right}"


WORD = 'mso-ascii-font-family:"Times New Roman";mso-char-type:symbol;mso-symbol-font-family:Symbol'


@pytest.mark.parametrize(
    ("page", "right"),
    [
        (f"K <span style='font-family:Symbol;{WORD}'><span style='mso-char-type:symbol'>£</span></span> 3", "K ≤ 3"),
        ("K <span style='font-family:Symbol'>&#61603;</span> 3", "K ≤ 3"),
        ("K <font face='Symbol'>&sup3;</font> 3", "K ≥ 3"),
        ("5 <font face=SymbolMT>m</font>g", "5 μg"),
        (
            "<span style='font:10.0pt Symbol'>·<span style='font:7.0pt \"Times New Roman\"'>&nbsp; ·</span></span>",
            "• ·",
        ),
        ("<font face=Wingdings>ü</font> done", "✓ done"),
        ("<font face=Symbol>Give it £ 3</font>", "Give it ≤ 3"),
        ("<font face='Arial, Symbol'>£</font>3", "£3"),
    ],
)
def test_letters_of_symbol_fonts_are_the_signs_that_they_show(page, right):
    assert text_of(f"<p>{page}") == right
    assert not omitted(f"<p>{page}")


def test_a_letter_without_a_meaning_is_lost_text_unless_it_is_an_icon():
    page = parsed("<p>K &#61603; 3 <font face=Symbol>&#61695;</font><i class='fa fa-pills'>&#61603;</i><p>Never.")
    assert page.text == "K 3\n\nNever."
    assert {item.reason: (item.count, item.text) for item in page.omitted} == {
        "symbols without a Unicode meaning": (2, True), "icons": (1, False),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "right"),
    [
        ("<tr><td>a<td>5 mg<br>10 mg at night", "a | 5 mg; 10 mg at night"),
        ("<tr><td>a<td><p>10</p><p>20 mg</p>", "a | 10; 20 mg"),
        ("<tr><td>a<td><ul><li>not in asthma<li>not in pregnancy</ul>", "a | not in asthma; not in pregnancy"),
        ("<caption>By<br>age</caption><tr><td>a<td><div>1</div><div>5 mg</div>", "By age\na | 1; 5 mg"),
        ("<tr><td rowspan=2>a<td>child<td>1<tr><td>adult<td>2", "a | child | 1\na | adult | 2"),
        ("<tr><th>Drug<th colspan=2>Dose<tr><td>a<td>1<td>2", "Drug | Dose | Dose\na | 1 | 2"),
        ("<tr><td>a<td><td>2<tr><td><td>1<td>", "a |  | 2\n | 1"),
        ("<tr><th colspan=9>Adults<tr><td>a<td>2", "Adults\na | 2"),
        ("<tr><td rowspan=0>a<td>1<tr><td>2<tr><td>3", "a | 1\na | 2\na | 3"),
        ("<tr><td>a<td><table><tr><td>day<td>1<tr><td>night<td>2</table><tr><td>b<td>3", "a | day; 1; night; 2\nb | 3"),
        ("<thead><tr><th>Drug</thead><tfoot><tr><td>note</tfoot><tbody><tr><td>a", "Drug\nnote\na"),
    ],
)
def test_tables_keep_their_columns(rows, right):
    assert text_of(f"<table>{rows}</table>") == right


@pytest.mark.parametrize(
    "part",
    ["<tfoot class=table-footer><tr><td>never", "<tbody role=contentinfo><tr><td>never", "<tr class=nav><td>never",
     "<tr role=navigation><td>never", "<tr><td role=complementary>never", "<tfoot id=footer><tr><td>never"],
)  # fmt: skip
def test_parts_of_a_table_stay_whatever_their_names_and_roles(part):
    table = f"<table><thead class=nav><tr><th>Drug<th>Dose</thead><tr><td>a<td>5 mg</tr>{part}</table>"
    page = f"{PARAGRAPHS}{table}"
    assert text_of(page) == f"{EIGHT}\n\nDrug | Dose\na | 5 mg\nnever"
    assert not omitted(page)


def test_navigation_in_a_cell_of_a_layout_table_goes():
    assert text_of(f"<table><tr><td role=navigation>All wards<td><h1>Zelnorin</h1>{PARAGRAPHS}</table>") == (
        f"Zelnorin\n\n{EIGHT}"
    )


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("<tr hidden><td>no longer<td>given", "hidden words"),
        ("<tbody style='display:none'><tr><td>no longer<td>given", "hidden words"),
        ("<tr style='text-decoration:line-through'><td>no longer<td>given", "struck-out words"),
        ("<tfoot style='text-decoration:line-through'><tr><td>no longer<td>given", "struck-out words"),
        ("<tr><td>b<td>6 mg<template>no longer given</template>", "hidden words"),
        ("<tr><template>no longer given</template><td>b<td>6 mg", "hidden words"),
    ],
)
def test_parts_of_a_table_that_are_not_read_are_counted(part, reason):
    page = f"{PARAGRAPHS}<table><tr><th>Drug<th>Dose</tr><tr><td>a<td>5 mg</tr>{part}</table>"
    assert "Drug | Dose\na | 5 mg" in text_of(page)
    assert "given" not in text_of(page)
    assert omitted(page) == {reason: 3}


def test_a_table_that_lays_out_the_page_is_read_by_blocks():
    page = f"<table><tr><td><h1>Zelnorin</h1>{PARAGRAPHS}</td><td>beside</td></tr></table>"
    assert text_of(page) == f"Zelnorin\n\n{EIGHT}\n\nbeside"


def test_scripts_do_not_count_and_no_class_drops_the_largest_part():
    page = f"<title>Z</title><h1>Zelnorin</h1><script>{'var x=1;' * 900}</script>"
    page += f"<div class='entry share sidebar'>{PARAGRAPHS}</div><p>Last changed 2026.</p>"
    assert text_of(page) == f"Zelnorin\n\n{EIGHT}\n\nLast changed 2026."


@pytest.mark.parametrize(
    "opening",
    ["<header><div>Top</div>", "<aside><p>News</p></b>", "<nav>", "<noscript>", "<template>", "<footer>", "<select>",
     "<select><option>one", "<dialog>", "<button>", "<div hidden>", "<div style='display:none'>", "<object>", "<video>",
     "<title>Title", "<textarea>old", "<!-- comment", "<script>var a", "<style>p {}", "<iframe>", "<noframes>",
     "<h1>Zelnorin", "<form>", "<table>", "<svg>", "<a href=x>", "<b>", "<div class=menu>", "<details>", "<xmp>",
     "<script src='a.js'/>", "<plaintext>", "<label>", "<caption>", "<frameset>"],
)  # fmt: skip
def test_an_element_that_is_not_closed_does_not_swallow_the_page(opening):
    page = parsed(f"<html><body><p>Ward handbook</p>{opening}{PARAGRAPHS}</body></html>")
    words = page.text.split()
    for n in range(1, 9):
        assert f"{n}:" in words, page.text
    assert "kidneys.Zelnorin" not in page.text


def test_marks_that_strike_out_and_are_not_closed_are_reported():
    page = f"<p>Old <s>50 mg</p>{PARAGRAPHS}"
    assert EIGHT in text_of(page)
    assert omitted(page) == {"strike-through marks that are not closed": 1}
    assert omitted("<p>Give <del>50 mg</del> 5 mg</p>") == {"struck-out words": 2}


@pytest.mark.parametrize("tag", ["article", "div", "section"])
def test_a_small_main_does_not_win(tag):
    page = f"<main><p>2 min</p></main><{tag}><h1>Corvex</h1>{PARAGRAPHS}</{tag}>"
    assert EIGHT in text_of(page)
    assert text_of(f"<div>Menu here</div><main>{PARAGRAPHS}</main>") == EIGHT


def test_what_is_left_out_is_counted_in_words():
    page = f"<nav><a>All guidelines</a></nav><div hidden>not shown</div>{PARAGRAPHS}<img src=a><img alt='' src=b>"
    page += "<video></video><footer>Privacy policy</footer><select><option>one<option>two</select>"
    around = "words around the text (navigation, headers, footers, side columns, buttons)"
    assert omitted(page) == {
        "hidden words": 2, around: 4, "pictures": 1, "embedded pages and media": 1,
        "words of choices that a menu does not show": 1,
    }  # fmt: skip
    assert not any(item.text for item in parsed(page).omitted)


def test_a_page_whose_text_is_in_its_scripts_is_reported():
    prose = "The dose of zelnorin is five milligrams, given once a day, and never to people who have asthma. " * 3
    page = f'<h1>Zelnorin</h1><p>Please wait.</p><script>var data = {{"body": "{prose}"}}</script>'
    (item,) = parsed(page).omitted
    assert (item.reason, item.text) == ("words that scripts hold and the page does not show", True)
    assert not parsed(f"<h1>Zelnorin</h1><p>{prose}</p><script>var d = '{prose}'</script>").omitted


NEVER = "Never give zelnorin to children or patients with asthma"
WRITTEN, HELD = "words that scripts write into the page", "words that scripts hold and the page does not show"


@pytest.mark.parametrize(
    ("script", "reason", "count"),
    [
        (f"<script>document.write('<p>{NEVER}</p>')</script>", WRITTEN, 9),
        ("<script>document.write('<p>Give ' + n +\n' mg');</script>", WRITTEN, 2),
        (f"<script>// don't\nx = `{NEVER}`</script>", HELD, 9),
        (f"<script>x = '{NEVER}'</script>", HELD, 9),
        (f"<script type=text/template><p>{NEVER} {{{{x}}}}</p></script>", HELD, 9),
        (f'<script>window.__DATA__={{"text":"{NEVER}"}}</script>', HELD, 9),
        ('<script type="application/json">{"a": "喘息患者には投与しない"}</script>', HELD, 1),
    ],
)
def test_text_that_only_scripts_hold_is_counted_whatever_its_quotation_marks(script, reason, count):
    (item,) = parsed(f"<p>Hi</p>{script}").omitted
    assert (item.reason, item.count, item.text) == (reason, count, True)
    with pytest.raises(Refused, match=f"has no text; left out: {count} {reason}"):
        parsed(f"<title>Zelnorin</title>{script}")


def test_strings_of_scripts_that_are_no_text_or_the_pages_own_are_not_counted():
    code = '"use strict"; a = "btn btn-primary active"; b = "a b c"; f("/x/y", \'it\', `${n}px`)'
    page = f"<p>Warning. {NEVER}.</p><script>{code}; w = '{NEVER}'</script>"
    page += (
        f'<script type="application/ld+json">{{"description": "All About Zelnorin"}}</script><script>{NEVER}</script>'
    )
    assert not parsed(page).omitted
    (item,) = parsed(f"{page}<script>'Please wait until it loads.'</script>").omitted
    assert (item.reason, item.count, item.text) == (HELD, 5, False)


def test_strings_of_scripts_are_found_in_linear_time():
    words = " ".join(f"Dose {n} of the drug" for n in range(40_000))
    strings = ",".join(f'"Dose {n} of the drug"' for n in range(40_000))
    began = time.process_time()
    assert not parsed(f"<p>{words}</p><script>[{strings}]</script>").omitted
    assert time.process_time() - began < 20


def test_most_of_the_prose_is_kept_whatever_its_parts_are_called():
    parts = [f"<div class=sidebar><p>Part {n}: give {n} mg each day.</p></div>" for n in range(9)]
    assert text_of("".join(parts)).count("each day") == 9


def test_depth_is_refused_in_words_and_never_cut():
    assert text_of("<div>" * 5000 + "deep" + "</div>" * 5000 + "after") == "deep\n\nafter"
    assert text_of("".join(f"<p><font color={n}>word{n}" for n in range(2000))).count("word") == 2000
    with pytest.raises(Refused, match="is nested too deeply"):
        parsed("<div>" * 50_000 + "deep")


def test_a_page_saved_as_utf16_or_without_words(tmp_path):
    assert text_of("<html><p>Größe und Gewicht</p></html>".encode("utf-16-le")) == "Größe und Gewicht"
    assert text_of("<p>Größe</p>".encode("utf-16")) == "Größe"
    with pytest.raises(Refused, match="has no text; left out: 1 pictures, 1 embedded pages and media"):
        parsed("<img src=x><iframe src=y></iframe>")


def test_headings_without_text_and_titles(tmp_path):
    (tmp_path / "a.html").write_text(
        "<title>Drug | Site</title><h1>Drug</h1><h2>Never in renal failure</h2><h2>Dose</h2><p>5 mg</p>"
    )
    document, _ = read_file(("a.html", tmp_path / "a.html"), tmp_path, 1 << 20, 60)
    assert document.title == "Drug"
    assert sections_of(document) == [(("Never in renal failure",), "Never in renal failure"), (("Dose",), "5 mg")]


def test_items_of_a_long_list_keep_their_numbers():
    text = text_of("<ol>" + "<li>dose" * 1500 + "</ol>")
    assert text.endswith("1500. dose")


def test_deep_markup_is_called_deep_and_not_a_lack_of_memory(tmp_path):
    (tmp_path / "a.html").write_text("<p>x" + "<sup>2" * 3000)
    item, _ = read_file(("a.html", tmp_path / "a.html"), tmp_path, 1 << 20, 60)
    assert item == "is nested too deeply"


@pytest.mark.parametrize("source", ["<a ", "<a<a", "<![CDATA[", "<!-- >", '<a x=">" ', "<style></style>", "</style "])
def test_many_parts_without_their_ends_leave_the_text_in_front(source):
    assert text_of("<p>Give 5 mg.</p>" + source * 300).startswith("Give 5 mg.")


def test_the_end_of_each_raw_element_is_found_behind_others():
    page = "<title>a</title><style>b</style><p>one</p><style>c</style><p>two</p><script>d</script><p>three</p>"
    assert text_of(page) == "one\n\ntwo\n\nthree"


@pytest.mark.parametrize("blank", [" ", "&nbsp;", "\n      ", "<b> </b>", " &nbsp;"])
def test_a_superscript_behind_a_blank_is_no_number_of_its_own(blank):
    assert text_of(f"<p>WBC 4.0 x 10{blank}<sup>9</sup>/L") == "WBC 4.0 x 10 ^9/L"
    assert text_of(f"<table><tr><td>WBC<td>10{blank}<sup>9</sup>/L</table>") == "WBC | 10 ^9/L"
    assert text_of(f"<p>Give 1{blank}<sup>1</sup>/<sub>2</sub> tablets") == "Give 1 1/2 tablets"
    assert text_of(f"<p>see note{blank}<sup>2</sup>") == "see note 2"


@pytest.mark.parametrize("tag", ["s", "strike", "del"])
def test_one_open_strike_through_mark_does_not_bring_closed_ones_back(tag):
    page = parsed(
        f"<p>Give <{tag}>50 mg</{tag}> <b style='text-decoration:line-through'>60</b> 5 mg.</p><p>Fee <{tag}>old</p>"
        f"<p>Never <{tag}/>in <{tag}>70</{tag}> asthma.</p>"
    )
    assert page.text == "Give 5 mg.\n\nFee old\n\nNever in asthma."
    assert {item.reason: (item.count, item.text) for item in page.omitted} == {
        "strike-through marks that are not closed": (1, True), "struck-out words": (4, False),
    }  # fmt: skip


@pytest.mark.parametrize(
    "page",
    ["<div role=row><span role=cell>1</span><span role=cell>5 mg</span></div>",
     "<div style='display:flex'><span>1</span><span>5 mg</span></div>",
     "<span style='display: inline-grid'><b>1</b><b>5 mg</b></span>",
     "<p>1<span style='display:inline-block'>5 mg</span>", "<p>1<span style='float:right'>5 mg</span>",
     "<p>1<span style='position:absolute'>5 mg</span>", "<p><meter>1</meter><output>5 mg</output>"],
)  # fmt: skip
def test_parts_that_are_laid_out_apart_do_not_glue(page):
    assert text_of(page).split() == ["1", "5", "mg"]


def test_items_without_numbers_and_disabled_choices_are_read_as_shown():
    assert text_of("<ol><li style='list-style:none'>wash</ol>") == "wash"
    assert text_of("<p>Give <select><option disabled>choose<option>5 mg</select>") == "Give 5 mg"
