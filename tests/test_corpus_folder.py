"""Folders of files: what each reader makes of a file, what it refuses, and what becomes of the others."""

import errno
import os

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
    return Folder(str(path), strict, max_megabytes, max_seconds, workers)


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


ENCRYPTED = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -4 >> /ID [<00> <00>]"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.md", b" \n", "is empty"),
        ("only.md", b"---\nid: x\n---\n", "has no text"),
        ("heads.md", b"# One\n## Two\n", "has no text but headings"),
        ("bad.md", b"---\nid: [\n---\ntext", "has front matter that is not YAML"),
        ("list.md", b"---\n- a\n---\ntext", "has front matter that is not a mapping"),
        ("deep.md", b"---\nid: " + b"[" * 100_000 + b"\n---\ntext", "has front matter that is not YAML"),
        ("half.md", b'---\ntitle: "\\ud800"\n---\ntext', "holds half a surrogate pair"),
        ("nul.txt", b"a\0b", "is binary (it holds NUL bytes)"),
        ("nul.html", b"<p>\0</p>", "is binary (it holds NUL bytes)"),
        ("bare.html", b"<script>x()</script>", "has no text"),
        ("photo.jpeg", b"\xff\xd8", "is of no known kind"),
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
    assert items[1] == Unreadable("2.md", "the id same stands twice, first in 1.md")
    with pytest.raises(InputError, match=r"2\.md: the id same stands twice, first in 1\.md; corpus\.strict=true"):
        list(corpus_of(tmp_path, strict=True).documents())


def test_the_hospital_is_whole():
    documents = list(hospital().documents())
    assert len(documents) >= 60
    for document in documents:
        assert document.metadata["source"] == f"{document.id}.md"
        assert {"kind", "department", "author", "date"} <= set(document.metadata)
        assert len(document.sections) >= 3
        assert all(section.heading and section.heading[0] != document.title for section in document.sections)
