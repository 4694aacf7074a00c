"""Corpora: what each reader makes of a file, what it refuses, and which ids it keeps."""

import errno
import gzip
import json
import os

import docx
import pytest

from cdsframe.corpus.beir import Beir, MedQuad
from cdsframe.corpus.folder import Folder
from cdsframe.corpus.hospital import hospital
from cdsframe.corpus.jsonl import Jsonl
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


def make_pdf(lines, trailer=""):
    """A one-page PDF: `(text, size in points)` for each line."""
    shown = "".join(f"BT /F1 {size} Tf 50 {780 - 30 * n} Td ({text}) Tj ET\n" for n, (text, size) in enumerate(lines))
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(shown)} >>\nstream\n{shown}endstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    text, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(text))
        text += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    start = len(text)
    text += f"xref\n0 6\n0000000000 65535 f \n{table}trailer\n<< /Size 6 /Root 1 0 R {trailer} >>\n"
    return (text + f"startxref\n{start}\n%%EOF\n").encode()


def sections_of(document):
    return [(section.heading, document.text[section.start : section.end].strip()) for section in document.sections]


@pytest.fixture
def read(tmp_path):
    """Writes one file and reads the folder that holds it."""

    def _read(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        (item,) = Folder(str(tmp_path), strict=False).documents()
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
        (("Döses",), "one\n\ntwo\n\ndrug | dose\n\na | 1 mg"),
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
    (document,) = Folder(str(tmp_path), strict=False).documents()
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
        ("latin.txt", "Größe".encode("latin-1"), "is not UTF-8 text"),
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
    items = list(Folder(str(inside), strict=False).documents())
    assert [item.id for item in items if isinstance(item, Document)] == ["a.txt"]
    assert {item.source for item in items if isinstance(item, Unreadable)} == {"folder", "link.txt"}


def test_a_name_that_is_not_utf8_is_written_with_escapes(tmp_path):
    (tmp_path / os.fsdecode(b"gr\xf6sse.txt")).write_text("text")
    (document,) = Folder(str(tmp_path), strict=False).documents()
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
    first, closed = Folder(str(tmp_path), strict=False).documents()
    assert (first.id, closed) == ("open.txt", Unreadable("closed", "Permission denied"))


def test_a_repeated_id_is_refused_and_strict_refuses_everything(tmp_path):
    for name in ("1.md", "2.md"):
        (tmp_path / name).write_text("---\nid: same\n---\ntext")
    items = list(Folder(str(tmp_path), strict=False).documents())
    assert items[0].id == "same"
    assert items[1] == Unreadable("2.md", "the id same stands twice, first in 1.md")
    with pytest.raises(InputError, match=r"2\.md: the id same stands twice, first in 1\.md; corpus\.strict=true"):
        list(Folder(str(tmp_path), strict=True).documents())


def write_lines(path, *records):
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def test_jsonl_reads_good_lines_and_names_bad_ones(tmp_path):
    path = write_lines(
        tmp_path / "docs.jsonl",
        {"id": 7, "title": "T", "text": " body ", "kind": "note", "metadata": {"department": "ICU"}},
        "",
        {"id": "s", "sections": [{"heading": "H", "text": "one"}, {"text": "two"}], "date": ""},
        "{oops",
        "[1]",
        {"id": "x"},
        {"id": "y", "text": "t", "author": ["no"]},
    )
    first, second, *bad = Jsonl(path, strict=False).documents()
    assert (first.id, first.text, first.metadata) == ("7", "body", {"kind": "note", "department": "ICU"})
    assert sections_of(second) == [(("H",), "one\n\ntwo")]
    assert [item.source for item in bad] == [f"docs.jsonl, line {number}" for number in (4, 5, 6, 7)]
    assert [item.reason for item in bad[1:]] == [
        "is not a JSON object",
        "has no text in the field text",
        "has no text in the field author",
    ]
    assert "oops" not in bad[0].reason


def test_a_repeated_id_of_jsonl_is_named_with_its_line(tmp_path):
    path = write_lines(tmp_path / "docs.jsonl", {"id": "x", "text": "one"}, "", {"id": "x", "text": "two"})
    first, again = Jsonl(path, strict=False).documents()
    assert (first.text, first.metadata) == ("one", {})
    assert again == Unreadable("docs.jsonl, line 3", "the id x stands twice, first in docs.jsonl, line 1")


def test_jsonl_that_is_not_text_or_cut_off_says_so(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_bytes(b'{"id": "a", "text": "t"}\n\xff\xfe\n{"id": "b", "text": "t"}')
    first, bad, last = Jsonl(str(path), strict=False).documents()
    assert (first.id, bad, last.id) == ("a", Unreadable("docs.jsonl, line 2", "is not UTF-8 text"), "b")
    packed = write_lines(tmp_path / "docs.jsonl.gz", *({"id": str(n), "text": "t" * n} for n in range(1, 300)))
    whole = (tmp_path / "docs.jsonl.gz").read_bytes()
    (tmp_path / "docs.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    *some, bad = Jsonl(packed, strict=False).documents()
    assert len(some) > 10
    assert bad.reason == "is not a whole gzip file"


def test_a_line_that_json_would_let_pass_does_not_stop_the_others(tmp_path):
    path = write_lines(
        tmp_path / "docs.jsonl",
        "[" * 100_000,
        f'{{"id": {"9" * 6000}, "text": "t"}}',
        '{"id": "\\ud800", "text": "t"}',
        '{"id": "x", "text": "\\uDC00"}',
        '{"id": NaN, "text": "t"}',
        {"id": "good", "_id": "good", "text": "😀"},
    )
    for corpus in (Jsonl, Beir):
        *bad, good = corpus(path, strict=False).documents()
        assert (good.id, good.text) == ("good", "😀")
        assert [item.source for item in bad] == [f"docs.jsonl, line {number}" for number in range(1, 6)]
        assert all(item.reason.startswith("is not JSON") for item in bad)


def test_beir_keeps_ids_and_joins_the_records_of_a_document(tmp_path):
    path = write_lines(
        tmp_path / "corpus.jsonl.gz",
        {"doc_id": "d#0", "document_id": "d", "pair_id": "d-1", "title": "T", "text": "one", "source": "S", "other": 1},
        {"_id": "e", "title": "", "text": "alone"},
        {"doc_id": "d#1", "document_id": "d", "pair_id": "d-2", "title": "Other", "text": "two"},
        {"_id": "e", "text": "again"},
        {"_id": "f", "text": ""},
    )
    bad, d, e, again = Beir(path, strict=False).documents()
    assert bad == Unreadable("corpus.jsonl.gz, line 5", "has no text in the field text")
    assert (d.text, d.title, d.metadata) == ("one\n\ntwo", "T", {"source": "S"})
    assert [(s.passage_id, s.id, s.heading, d.text[s.start : s.end]) for s in d.sections] == [
        ("d#0", "d-1", (), "one"),
        ("d#1", "d-2", ("Other",), "two"),
    ]
    assert (e.id, again.id, again.sections[0].passage_id) == ("e", "e-2", "e-2")


def test_medquad_says_what_it_needs(tmp_path):
    assert "CDSFRAME_DATA" in MedQuad.problems(None)[0]
    assert "no file" in MedQuad.problems(str(tmp_path))[0]


def test_medquads_passages_keep_their_ids(real_data):
    documents = list(MedQuad(str(real_data), strict=True).documents())
    ids = [section.passage_id for document in documents for section in document.sections]
    assert (len(documents), len(ids), len(set(ids))) == (5487, 26310, 26310)


def test_a_repeated_passage_of_real_data_is_numbered(real_data):
    path = real_data / "other_domains" / "fairytaleqa_sections.jsonl.gz"
    ids = [section.passage_id for d in Beir(str(path), strict=True).documents() for section in d.sections]
    assert len(set(ids)) == 4095
    assert "remarkable-rocket#5-2" in ids


def test_the_hospital_is_whole():
    documents = list(hospital().documents())
    assert len(documents) >= 60
    for document in documents:
        assert document.metadata["source"] == f"{document.id}.md"
        assert {"kind", "department", "author", "date"} <= set(document.metadata)
        assert len(document.sections) >= 3
        assert all(section.heading and section.heading[0] != document.title for section in document.sections)
