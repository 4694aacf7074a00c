"""Folders of files: what each reader makes of a file, what it refuses, and what becomes of the others."""

import errno
import os
import zipfile

import docx
import pytest
from corpus_files import make_pdf, sections_of

from cdsframe.corpus.folder import Folder
from cdsframe.corpus.hospital import hospital
from cdsframe.errors import InputError
from cdsframe.types import Document, Unreadable

MARKDOWN = """\ufeff---
id: warfarin
title: Warfarin
kind: guideline
date: 2025-03-14
patient: ""
tags: [a, b]
supersedes: old
---

# Warfarin

Before all.

## Dose
Start with 5 mg.
```
# not a heading
```
### In the old ##
Start with 2.5 mg.

## Empty
"""


def corpus_of(path, strict=False, max_megabytes=100, max_seconds=60, workers=0):
    return Folder(str(path), strict, max_megabytes, max_seconds, workers, None, ())


@pytest.fixture
def read(tmp_path):
    """Writes one file and reads the folder that holds it."""

    def _read(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        (item,) = corpus_of(tmp_path).documents()
        return item

    return _read


def test_markdown_keeps_its_text_and_tells_of_itself(read):
    document = read("sub/w.md", MARKDOWN)
    assert (document.id, document.title) == ("warfarin", "Warfarin")
    assert document.metadata == {"kind": "guideline", "date": "2025-03-14", "source": "sub/w.md"}
    assert document.text == MARKDOWN.split("---\n")[2].strip()
    assert sections_of(document) == [
        ((), "Before all."),
        (("Dose",), "Start with 5 mg.\n```\n# not a heading\n```"),
        (("Dose", "In the old"), "Start with 2.5 mg."),
        (("Empty",), "## Empty"),
    ]


def test_markdown_without_front_matter_is_named_by_path_and_first_heading(read):
    document = read("a/b.md", "# One\r\ntext\r\n# Two\r\nmore")
    assert (document.id, document.title) == ("a/b.md", "One")
    assert sections_of(document) == [((), "text"), (("Two",), "more")]


def test_plain_text_is_one_section(read):
    document = read("plain.txt", "\n a b\nc \n")
    assert (document.title, document.text, sections_of(document)) == ("plain", "a b\nc", [((), "a b\nc")])


def test_html_keeps_headings_and_tables_and_drops_what_is_not_text(read):
    document = read(
        "page.html",
        "<html><head><title>Ward 7</title><style>p {}</style></head><body><nav>Home</nav><h1>Ward 7</h1>"
        "<p>Open <b>all</b> day.<br>Ring 7.</p><h2>D&ouml;ses</h2><ul><li>one</li><li>two</li></ul>"
        "<table><tr><th>drug</th><th>dose</th></tr><tr><td>a</td><td>1 mg</td></tr></table><script>x()</script></body>",
    )
    assert document.title == "Ward 7"
    assert sections_of(document) == [
        ((), "Open all day. Ring 7."),
        (("Döses",), "one\n\ntwo\n\ndrug | dose\na | 1 mg"),
    ]


def test_html_in_the_encoding_that_it_declares(read):
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>Größe</p></body></html>'
    assert read("page.htm", page.encode("iso-8859-1")).text == "Größe"


def test_docx_keeps_headings_and_tables(tmp_path):
    file = docx.Document()
    file.add_heading("Ward rules", level=0)
    file.add_paragraph("Before.")
    file.add_heading("Night", level=1)
    file.add_paragraph("Lights off at 22:00.")
    table = file.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "bleep", "2105"
    file.save(tmp_path / "rules.docx")
    (document,) = corpus_of(tmp_path).documents()
    assert document.title == "Ward rules"
    assert sections_of(document) == [((), "Before."), (("Night",), "Lights off at 22:00.\n\nbleep | 2105")]


def test_pdf_with_clear_headings(read):
    lines = [
        ("Ward rules", 20),
        ("Ring the bell.", 10),
        ("Then wait here.", 10),
        ("Night", 14),
        ("Lights off at ten.", 10),
    ]
    document = read("rules.pdf", make_pdf([*lines, ("Nobody talks.", 10), ("Nobody walks.", 10)]))
    assert document.title == "Ward rules"
    assert sections_of(document) == [
        ((), "Ring the bell.\nThen wait here."),
        (("Night",), "Lights off at ten.\nNobody talks.\nNobody walks."),
    ]


def test_pdf_without_headings_has_a_section_a_page(read):
    document = read("plain.pdf", make_pdf([("First line.", 10), ("Second line.", 10)]))
    assert sections_of(document) == [(("Page 1",), "First line.\nSecond line.")]


def test_pdf_tables_stand_once_as_lines_and_in_their_place(read):
    grid = "".join(f"50 {y} m 350 {y} l S " for y in (640, 670, 700)) + "".join(
        f"{x} 640 m {x} 700 l S " for x in (50, 200, 350)
    )
    cells = "".join(
        f"BT /F1 10 Tf {x} {y} Td ({text}) Tj ET "
        for x, y, text in ((60, 680, "Clearance"), (210, 680, "Dose"), (60, 650, "over 60"), (210, 650, "5 mg/kg"))
    )
    lines = [
        ("Dosing", 20),
        ("Measure first.", 10),
        *[("", 10)] * 3,
        ("Then ask the pharmacy.", 10),
        ("Write it down.", 10),
    ]
    document = read("dose.pdf", make_pdf(lines, drawing=grid + cells))
    assert document.text == (
        "Dosing\n\nMeasure first.\n\nClearance | Dose\nover 60 | 5 mg/kg\n\nThen ask the pharmacy.\nWrite it down."
    )


PAGE = """<html><head><title>Gentamicin | St Elsewhere</title></head><body class="has-sidebar">
<div id="cookie-banner"><p>We use cookies.</p></div><header><a href="/">Home</a></header>
<div class="breadcrumbs">You are here</div><div role="navigation"><p>All guidelines</p></div>
<form id="page"><div class="content with-sidebar"><header><h1>Gentamicin</h1></header><p>Adults only.</p>
<h2>Dose</h2><table><caption>By clearance</caption><tr><th>CrCl</th><th>Interval</th></tr>
<tr><td>&gt;60</td><td>24 <b>h</b></td></tr></table><ul><li>Check levels</li></ul><!-- no --> and wait
<footer>Reviewed 2025</footer></div></form><ul><li><a>One</a></li><li><a>Two</a></li><li><a>Three</a></li>
<li><a>Four</a></li></ul><aside>News</aside><footer>Privacy policy</footer></body></html>"""


def test_html_loses_what_surrounds_the_text_and_nothing_of_it(read):
    document = read("page.html", PAGE)
    assert document.title == "Gentamicin"
    dose = "By clearance\nCrCl | Interval\n>60 | 24 h\n\nCheck levels\n\nand wait"
    assert sections_of(document) == [((), "Adults only."), (("Dose",), dose)]


@pytest.mark.parametrize("names", ["with-sidebar", "sidebar", "related"])
def test_html_keeps_most_of_a_page_whatever_its_parts_are_called(read, names):
    document = read(
        "page.html", f'<body><p>Short.</p><div class="{names}"><p>{"The dose is 5 mg. " * 9}</p></div></body>'
    )
    assert "The dose is 5 mg." in document.text


def test_html_nested_deeply_is_read_or_refused_but_never_cut(read, tmp_path):
    assert read("a.html", "<div>" * 1000 + "deep" + "</div>" * 1000 + "after").text == "deep\n\nafter"
    (tmp_path / "a.html").unlink()
    assert read("b.html", "<div>" * 100_000 + "deep").reason == "is nested too deeply"


def test_docx_tables_nest_and_merged_cells_stand_once(tmp_path):
    file = docx.Document()
    table = file.add_table(rows=3, cols=2)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "Doses"
    table.cell(1, 0).merge(table.cell(2, 0)).text = "adult"
    table.cell(1, 1).text = "5 mg"
    inner = table.cell(2, 1).add_table(rows=1, cols=2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "night", "2 mg"
    file.sections[0].header.paragraphs[0].text = "on every page"
    file.save(tmp_path / "t.docx")
    (document,) = corpus_of(tmp_path).documents()
    assert document.text == "Doses\nadult | 5 mg\n | night | 2 mg"


CYRILLIC = "Пациент жалуется на боль в груди и одышку при нагрузке."


@pytest.mark.parametrize(
    ("text", "encoding", "guessed"),
    [
        ("Größe", "utf-8-sig", None),
        ("Größe", "utf-16", None),
        ("Größe", "utf-32", None),
        ("Größe", "cp1252", "cp1252"),
        ("38,5 °C – “stat”", "cp1252", "cp1252"),
        (CYRILLIC, "cp1251", "cp1251"),
    ],
)
def test_text_in_other_encodings_is_read_and_a_guess_is_told(read, caplog, text, encoding, guessed):
    assert read("a.txt", text.encode(encoding)).text == text
    logged = [record.getMessage() for record in caplog.records]
    assert logged == ([f"a.txt: is not UTF-8 and declares no encoding; read as {guessed}"] if guessed else [])


def test_bytes_that_are_no_text_are_not_guessed(read):
    assert read("a.txt", bytes(range(128, 256)) * 9).reason.startswith("is neither UTF-8 nor")
    assert read("a.txt", b"\xff\xfea").reason == "is not valid utf-16, although its byte order mark says so"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the limit may fall into a destructor
def test_limits_name_their_options(tmp_path):
    (tmp_path / "big.txt").write_bytes(b"a" * (1 << 20) + b"b")
    (tmp_path / "just.txt").write_bytes(b"a" * (1 << 20))
    with zipfile.ZipFile(tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * (2 << 20))
    (tmp_path / "slow.pdf").write_bytes(make_pdf([("word " * 20, 10)] * 25, pages=400))
    items = {
        getattr(item, "source", None) or item.id: item
        for item in corpus_of(tmp_path, max_megabytes=1, max_seconds=1).documents()
    }
    assert items["big.txt"].reason == "is larger than 1 MB (corpus.max_megabytes)"
    assert items["bomb.docx"].reason == "unpacks to more than 1 MB (corpus.max_megabytes)"
    assert items["slow.pdf"].reason == "takes longer than 1 seconds to read (corpus.max_seconds)"
    assert isinstance(items["just.txt"], Document)


def test_a_file_that_vanishes_is_named_and_the_others_go_in(tmp_path):
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("text")
    items = corpus_of(tmp_path).documents()
    assert next(items).id == "a.txt"
    (tmp_path / "b.txt").unlink()
    assert [getattr(item, "reason", None) for item in items] == ["vanished before it was read", None]


def test_processes_give_the_same_in_the_same_order(tmp_path, caplog):
    for number in range(30):
        (tmp_path / f"{number:02}.md").write_text(f"# N {number}\n\ntext\n")
    (tmp_path / "05.md").write_bytes("Größe".encode("cp1252"))
    (tmp_path / "07.txt").write_bytes(b"a\0b")
    alone = list(corpus_of(tmp_path).documents())
    assert list(corpus_of(tmp_path, workers=2).documents()) == alone
    assert len(alone) == 31
    assert len(caplog.records) == 2


ENCRYPTED = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -4 >> /ID [<00> <00>]"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.md", b" \n", "is empty"),
        ("only.md", b"---\nid: x\n---\n", "has no text"),
        ("bad.md", b"---\nid: [\n---\ntext", "has front matter that is not YAML"),
        ("deep.md", b"---\nid: " + b"[" * 100_000 + b"\n---\ntext", "has front matter that is not YAML"),
        ("half.md", b'---\ntitle: "\\ud800"\n---\ntext', "contains half a surrogate pair"),
        ("nul.txt", b"a\0b", "is binary (it holds NUL bytes)"),
        ("nul.html", b"<p>\0</p>", "is binary (it holds NUL bytes)"),
        ("bare.html", b"<script>x()</script>", "has no text"),
        ("photo.jpeg", b"\xff\xd8", "has an unsupported file type"),
        ("bad.docx", b"PK\x03\x04 no archive", "is not a readable .docx"),
        ("old.docx", b"\xd0\xcf\x11\xe0rest", "is encrypted or in the old .doc format"),
        ("bad.pdf", b"%PDF-1.4 and nothing", "is not a readable PDF"),
        ("scan.pdf", make_pdf([]), "has no text (a scanned document"),
        ("locked.pdf", make_pdf([("secret", 10)], ENCRYPTED), "is encrypted"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(read, name, data, reason):
    item = read(name, data)
    assert isinstance(item, Unreadable)
    assert item.source == name
    assert item.reason.startswith(reason)


def test_links_are_not_followed_and_hidden_files_are_passed_over(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside, inside / ".git"):
        folder.mkdir()
        (folder / "a.txt").write_text("text")
    (inside / "link.txt").symlink_to(outside / "a.txt")
    (inside / "folder").symlink_to(outside)
    items = list(corpus_of(inside).documents())
    assert [item.id for item in items if isinstance(item, Document)] == ["a.txt"]
    assert {item.source for item in items if isinstance(item, Unreadable)} == {"folder", "link.txt"}


def test_a_name_that_is_not_utf8_is_written_with_escapes(tmp_path):
    (tmp_path / os.fsdecode(b"gr\xf6sse.txt")).write_text("text")
    (document,) = corpus_of(tmp_path).documents()
    assert (document.id, document.title) == ("gr\\udcf6sse.txt", "gr\\udcf6sse")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "open.txt").write_text("text")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    first, closed = corpus_of(tmp_path).documents()
    assert (first.id, closed) == ("open.txt", Unreadable("closed", "Permission denied"))


def test_a_repeated_id_is_refused_and_strict_refuses_everything(tmp_path):
    for name in ("1.md", "2.md"):
        (tmp_path / name).write_text("---\nid: same\n---\ntext")
    items = list(corpus_of(tmp_path).documents())
    assert items[0].id == "same"
    assert items[1] == Unreadable("2.md", "the id same is repeated; its first occurrence is in 1.md")
    with pytest.raises(
        InputError, match=r"2\.md: the id same is repeated; its first occurrence is in 1\.md; corpus\.strict=true"
    ):
        list(corpus_of(tmp_path, strict=True).documents())


def test_the_hospital_is_whole():
    documents = list(hospital("hospital").documents())
    assert len(documents) >= 60
    for document in documents:
        assert document.metadata["source"] == f"{document.id}.md"
        assert {"kind", "department", "author", "date"} <= set(document.metadata)
        assert len(document.sections) >= 3
        assert all(section.heading and section.heading[0] != document.title for section in document.sections)


def _read_one(corpus):
    (source,) = corpus.stamps()[0]
    return source, lambda: next(item for _, item in corpus.read([source]))


@pytest.mark.parametrize("swapped", ["file", "folder", "fifo"])
def test_what_becomes_a_link_after_it_was_listed_is_not_followed(tmp_path, swapped):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside / "sub", outside):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(f"text of {folder.name}")
    _, read = _read_one(corpus_of(inside))
    assert read().text == "text of sub"
    (inside / "sub" / "a.txt").unlink()
    if swapped == "file":
        (inside / "sub" / "a.txt").symlink_to(outside / "a.txt")
    elif swapped == "fifo":
        os.mkfifo(inside / "sub" / "a.txt")
    else:
        (inside / "sub").rmdir()
        (inside / "sub").symlink_to(outside)
    item = read()
    assert isinstance(item, Unreadable)
    assert item.reason == (
        "is not a regular file" if swapped == "fifo" else "lies behind a symbolic link, which is not followed"
    )


def test_a_root_that_is_a_link_is_read(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("text")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert next(corpus_of(tmp_path / "root").documents()).text == "text"


def test_a_followed_file_whose_name_is_not_utf8_is_read(tmp_path):
    with open(os.fsencode(tmp_path) + b"/bad\xff.txt", "w") as file:
        file.write("text")
    source, read = _read_one(corpus_of(tmp_path))
    assert (source, read().text) == (r"bad\udcff.txt", "text")
