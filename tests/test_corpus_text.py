"""Plain text in many encodings, and Markdown by CommonMark: fences, headings, front matter, comments."""

import pytest
from corpus_files import sections_of

from cdsframe.corpus.encodings import decode, encoding_of
from cdsframe.corpus.folder import Folder
from cdsframe.corpus.guessing import guess
from cdsframe.corpus.readers.parsed import Refused
from cdsframe.corpus.readers.text import read_markdown, read_text

SENTENCES = [
    ("de", "cp1252", "Die Dosis für Müller beträgt 5 mg."),
    ("fr", "cp1252", "Contre-indiqué en cas d'insuffisance rénale"),
    ("en", "cp1252", "38,5 °C at noon, give 5 µg/kg – “stat”"),
    ("pl", "iso-8859-2", "Pacjent z ciężką niewydolnością nerek"),
    ("pl", "cp1250", "Nie stosować w ciąży i podczas karmienia"),
    ("cs", "cp1250", "Nežádoucí účinky jsou časté u dětí"),
    ("hu", "cp1250", "Túladagolás esetén hívja a mentőket"),
    ("ru", "cp1251", "Противопоказан при почечной недостаточности"),
    ("ru", "koi8-r", "Назначать 5 мг два раза в день"),
    ("ru", "cp866", "Не давать детям до двух лет"),
    ("bg", "cp1251", "Дозата е 5 мг два пъти дневно"),
    ("el", "cp1253", "Αντενδείκνυται σε νεφρική ανεπάρκεια"),
    ("tr", "cp1254", "Sık görülen yan etkiler: baş ağrısı"),
    ("he", "cp1255", "אסור באי ספיקת כליות"),
    ("ar", "cp1256", "يمنع في حالات القصور الكلوي"),
    ("th", "cp874", "ห้ามใช้ในผู้ป่วยไตวาย"),
    ("ja", "cp932", "腎不全の患者には投与しないこと"),
    ("ja", "euc-jp", "腎不全の患者には投与しないこと"),
    ("ja", "iso-2022-jp", "一日二回を経口投与する"),
    ("zh", "gb18030", "肾功能不全者禁用,每日两次"),
    ("zh", "big5", "腎功能不全者禁用,每日兩次"),
    ("ko", "cp949", "신부전 환자에게는 투여하지 않는다"),
    ("de", "cp850", "Die größte Dosis für Männer"),
    ("de", "utf-16-le", "Größe und Gewicht"),
    ("de", "utf-16-be", "Größe und Gewicht"),
    ("ja", "utf-16-le", "投与量は一日五ミリグラムです。\n喘息患者には投与しない"),
    ("ja", "utf-16-be", "投与量は一日五ミリグラムです。\n喘息患者には投与しない"),
    ("zh", "utf-16-le", "剂量五毫克不得超过"),
    ("zh", "utf-16-be", "劑量5毫克，不得超過10毫克"),
    ("ko", "utf-16-le", "용량은하루오밀리그램"),
    ("th", "utf-16-le", "ห้ามใช้ในผู้ป่วยไตวาย"),
    ("ru", "utf-16-be", "Противопоказан"),
    ("de", "cp1252", "Gabe für"),
    ("de", "mac-roman", "Größe täglich"),
    ("fr", "mac-roman", "Contre-indiqué en cas d'insuffisance rénale sévère"),
    ("en", "mac-roman", "The patient’s dose is 5 mg"),
    ("sv", "mac-roman", "Smörgås är också bra"),
    ("en", "mac-roman", "Give it if the potassium is ≤ 5 mmol/L and the age is ≥ 18 years."),
    ("en", "mac-roman", "Stop (≥ 80 years); K≤5; dose: ≤ 5 µg ± 2; Na ≠ 130"),
    ("en", "mac-roman", "• Give “zelnorin” if K is ≤ 5 – only then"),
    ("en", "cp1252", "BMI 30 kg/m ² 5 mg, für"),
    ("et", "cp1252", "Šokk ja tušš, dušš"),
    ("de", "utf-32-le", "Größe und Gewicht"),
    ("de", "utf-7", "Größe für Jürgen"),
    ("zh", "hz", "孕妇禁用"),
]


@pytest.mark.parametrize(("language", "encoding", "text"), SENTENCES)
def test_a_short_text_is_guessed_right(language, encoding, text, tmp_path):
    decoded = decode(text.encode(encoding))
    assert (decoded.text, decoded.replaced) == (text, 0)
    assert decoded.guessed
    (tmp_path / "a").write_bytes(text.encode(encoding))
    with open(tmp_path / "a", "rb") as file:
        assert encoding_of(file) == (decoded.guessed, True)


@pytest.mark.parametrize(
    ("data", "text", "replaced"),
    [
        ("Dose 5 mg für Größe µ".encode()[:-1], "Dose 5 mg für Größe \ufffd", 1),
        (
            "Give 5 µg to Müller.\nSecond line 10 ".encode() + b"\xb5g.",
            "Give 5 µg to Müller.\nSecond line 10 \ufffdg.",
            1,
        ),
        ("\ufeffGröße ".encode() + b"\xb5g", "Größe \ufffdg", 1),
    ],
)
def test_mostly_valid_utf8_stays_utf8_and_wrong_bytes_are_counted(data, text, replaced):
    parsed = read_text(data, 1)
    assert (parsed.text, parsed.remark) == (text, None)
    assert [(item.count, item.text) for item in parsed.omitted] == [(replaced, True)]


def test_ascii_that_looks_like_escapes_is_left_alone():
    for text in (
        "C++ and 3+4-5 a+b-c vitamin+D12-x",
        "\x1b[31mred",
        "~{ not",
        "~{ABCD~} mg",
        "~{PATIENTS~} and ~{DATE~}",
        "gamma+delta-x",
    ):
        assert decode(text.encode()).text == text


def test_rare_code_pages_are_not_guessed():
    for _, encoding, text in SENTENCES:
        if encoding in ("cp1251", "cp1250", "iso-8859-2", "cp1252"):
            assert not guess(text.encode(encoding)).startswith(("mac", "iso8859_1", "iso-8859-14", "cp932"))


def test_the_guess_is_logged_and_strict_names_what_is_lost(tmp_path, caplog):
    (tmp_path / "a.txt").write_bytes("Größe".encode("cp1252"))
    (tmp_path / "b.html").write_bytes("<meta charset=latin1><p>Größe".encode())
    list(Folder(str(tmp_path), False, 1, 60, 0, None, ()).documents())
    assert [record.getMessage() for record in caplog.records] == [
        "a.txt: is not UTF-8 and declares no encoding; read as cp1252",
        "b.html: declares the encoding cp1252 but is UTF-8; read as utf-8",
    ]


def markdown(text):
    parsed = read_markdown(text.encode(), 1)
    return [(heading, body.strip()) for heading, body in sections_of(parsed)]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("# G\n\n```npm x``` y\n\n## Dose\n\n20 mg\n", [(("G",), "```npm x``` y"), (("G", "Dose"), "20 mg")]),
        (
            "# R\n\n````md\n```\n# code\n```\n````\n\n## A\n\nt",
            [(("R",), "````md\n```\n# code\n```\n````"), (("R", "A"), "t")],
        ),
        ("Title\n=====\n\na\n\nPart\none\n---\nb", [(("Title",), "a"), (("Title", "Part one"), "b")]),
        ("~~~\n# no\n```\n~~~\n# Yes\nx", [((), "~~~\n# no\n```\n~~~"), (("Yes",), "x")]),
        (
            "    # code\n\n#no\n\n# **Bold** `c` [l](u) 10<sup>9</sup>\nx",
            [((), "# code\n\n#no"), (("Bold c l 10^9",), "x")],
        ),
        ("# A\n\n> # quoted\n> x\n\n- # listed\n\nend", [(("A",), "> # quoted\n> x\n\n- # listed\n\nend")]),
        ("<div>\n# no\n</div>\n\n# Yes\nx", [((), "<div>\n# no\n</div>"), (("Yes",), "x")]),
        (
            "# A\n## Never with warfarin\n## Dose\n5",
            [(("A", "Never with warfarin"), "## Never with warfarin"), (("A", "Dose"), "5")],
        ),
        ("# Only", [(("Only",), "# Only")]),
        ("# A\r\rold\r\r# B\r\rmac", [(("A",), "old"), (("B",), "mac")]),
        ("#\n\ntext\n\n# A #\nx", [((), "text"), (("A",), "x")]),
        ("a | b\n--- | ---\n1 | 2\n\n[x]: /url 'words'\n", [((), "a | b\n--- | ---\n1 | 2\n\n[x]: /url 'words'")]),
    ],
)  # fmt: skip
def test_markdown_follows_commonmark(text, right):
    assert markdown(text) == right


@pytest.mark.parametrize(
    "text",
    ["---\n\nZelnorin warning: never in pregnancy.\n\n---\n\nStore cold.", "---\nwarning: never\n---\ntext",
     "\n---\nid: x\n---\ntext", "---\nid: x\ntext", "text\n---\nid: x\n---\n", "---\n- a\n---\ntext", "--- \ntext"],
)  # fmt: skip
def test_text_between_rules_is_no_front_matter(text):
    parsed = read_markdown(text.encode(), 1)
    assert (parsed.text, parsed.front) == (text.strip(), {})


def test_front_matter_is_read():
    parsed = read_markdown(b"---\nid: x\ntitle: T\ntags: [a, b]\nowner: me\n...\ntext", 1)
    assert (parsed.text, parsed.front["id"], parsed.front["title"]) == ("text", "x", "T")
    assert (parsed.front["tags"], parsed.front["owner"]) == ("a, b", "me")


def test_comments_of_markdown_are_no_text_but_those_in_code_are():
    text = "# A\n\n<!-- old: 50 mg -->\n\nGive `<!-- x -->` 5 mg <!-- not 50 --> daily.\n\n"
    text += "```\n<!-- code -->\n```\n\n## B\n\nx"
    parsed = read_markdown(text.encode(), 1)
    assert [(heading, body.strip()) for heading, body in sections_of(parsed)] == [
        (("A",), "Give `<!-- x -->` 5 mg  daily.\n\n```\n<!-- code -->\n```"),
        (("A", "B"), "x"),
    ]
    assert [(item.reason, item.count) for item in parsed.omitted] == [("comments", 2)]


def test_sections_behind_many_comments_begin_at_their_headings():
    source = "".join(f"<!-- {n} -->\n\n# h{n}\n\ntext {n}\n\n" for n in range(50))
    parsed = read_markdown(source.encode(), 1)
    shown = [parsed.text[section.start : section.end].split() for section in parsed.sections]
    assert shown == [["text", str(n)] for n in range(50)]


@pytest.mark.parametrize("text", ["WBC 4.0 ×10³/µL", "10¹²/L, WBC 10³", "¥5", "Ø 5 mm", "1.73m²"])
def test_western_signs_beside_numbers_are_no_letters_of_other_code_pages(text):
    assert decode(text.encode("cp1252")).text == text


def test_a_comment_of_markdown_that_is_not_closed_hides_nothing():
    text = "Give 5 mg.\n\n<!-- todo\n\n# Never in asthma\n\nStop at once."
    assert read_markdown(text.encode(), 1).text == text
    assert "Never in asthma." in read_markdown(b"Fee <!--> Never in asthma. <!-- x --> End", 1).text


def test_an_open_comment_is_reported_and_a_key_named_twice_is_refused():
    omitted = read_markdown(b"Give 5 mg.\n\n<!-- todo\n\nStop.", 1).omitted
    assert [item.reason for item in omitted] == ["comments that are not closed, kept as text"]
    with pytest.raises(Refused, match="has front matter with two values for title; remove one of them"):
        read_markdown(b"---\ntitle: A\ntitle: B\n---\ntext", 1)
