"""One invariant for every reader: each visible word is read, in its order inside its block, or it is counted."""

import csv
import io
import re
from contextlib import suppress

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cdsframe.corpus.csv import CsvCorpus
from cdsframe.corpus.readers.html import read_html
from cdsframe.corpus.readers.parsed import Refused
from cdsframe.corpus.readers.text import read_markdown, read_text
from cdsframe.types import Document

WORDS = st.integers(1, 9999).map(lambda number: f"w{number}")
RUN = st.lists(WORDS, min_size=1, max_size=4)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def read_words(parsed):
    """The words of title, headings and sections, in order."""
    parts = [parsed.title or ""]
    for section in parsed.sections:
        parts += [*section.heading, parsed.text[section.start : section.end]]
    return re.findall(r"\w+", " ".join(parts))


def assert_in_order(blocks, words):
    """Each block's words stand in `words` one behind the other, alone (not glued to others)."""
    for block in blocks:
        places = iter(words)
        assert all(word in places for word in block), (block, words)


# ------------------------------------------------------------------------------------------------ HTML

INLINE = ("b", "i", "span", "a", "code", "font", "u", "mark", "sup", "custom-x")
BLOCK = (
    "p",
    "div",
    "li",
    "blockquote",
    "h2",
    "h3",
    "section",
    "article",
    "dd",
    "summary",
    "figcaption",
    "center",
    "pre",
)


@st.composite
def inline(draw, depth=2):
    """Source and its words; adjacent words are divided in the source."""
    parts, words = [], []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.booleans()):
            source, inner = draw(inline(depth - 1))
            tag = draw(st.sampled_from(INLINE))
            close = "" if draw(st.integers(0, 9)) == 0 else f"</{tag}>"
            parts.append(f"<{tag}>{source}{close}")
            words += inner
        else:
            run = draw(RUN)
            parts.append(draw(st.sampled_from((" ", "&nbsp;", "<br>", "\n"))).join(run))
            words += run
    return draw(st.sampled_from((" ", "<br>", "\n<!-- no -->\n"))).join(parts), words


@st.composite
def table(draw):
    rows, words = [], []
    for _ in range(draw(st.integers(1, 4))):
        cells = []
        for _ in range(draw(st.integers(1, 4))):
            source, inner = draw(st.one_of(inline(1), paragraphs()))
            spans = draw(st.sampled_from(("", " rowspan=2", " colspan=2", " rowspan=0", " colspan=3 rowspan=3")))
            cells.append(f"<{draw(st.sampled_from(('td', 'th')))}{spans}>{source}")
            words.append(inner)
        rows.append("<tr>" + "".join(cells))
    return f"<table>{''.join(rows)}</table>", words


@st.composite
def paragraphs(draw):
    runs = draw(st.lists(RUN, min_size=1, max_size=3))
    tag = draw(st.sampled_from(("p", "div", "li")))
    return "".join(f"<{tag}>{' '.join(run)}</{tag}>" for run in runs), [word for run in runs for word in run]


@st.composite
def page(draw, depth=3):
    """Source and its blocks, each a list of words."""
    parts, blocks = [], []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 5))
        if kind == 0:
            source, inner = draw(table())
            parts.append(source)
            blocks += inner
        elif kind <= 2 and depth:
            source, inner = draw(page(depth - 1))
            tag = draw(st.sampled_from((*BLOCK, "header", "main", "aside", "details", "form", "fieldset")))
            close = "" if draw(st.integers(0, 5)) == 0 else f"</{tag}>"
            name = draw(st.sampled_from(("", " class=share", " id=sidebar", " class='entry menu'")))
            parts.append(f"<{tag}{name}>{source}{close}")
            blocks += inner
        else:
            tag = draw(st.sampled_from(BLOCK))
            source, words = draw(inline())
            parts.append(f"<{tag}>{source}" + ("" if draw(st.integers(0, 5)) == 0 else f"</{tag}>"))
            blocks.append(words)
    return "".join(parts), blocks


@QUICK
@given(page())
@example(("<table><tr><td>w1<td rowspan=2>w2<tr><td>w3", [["w1"], ["w2"], ["w3"]]))
@example(("<header><p>w1</header><p>w2 w3 w4", [["w1"], ["w2", "w3", "w4"]]))
def test_each_word_of_a_page_is_read_in_order_or_counted(drawn):
    source, blocks = drawn
    total = [word for block in blocks for word in block]
    parsed = read_html(source.encode(), 1 << 20)
    words = read_words(parsed)
    left = sum(item.count for item in parsed.omitted if "words" in item.reason)
    missing = [block for block in blocks if not set(block) <= set(words)]
    assert sum(map(len, missing)) <= left
    assert_in_order([block for block in blocks if block not in missing], words)
    assert len(words) >= len(total) - left


@QUICK
@given(
    page(),
    st.integers(0, 400),
    st.sampled_from(("<", "<!--", "<script>", "<title>", "\0", "\x81", "</p>", "<p", "]]>")),
)
def test_damage_of_a_page_never_raises(drawn, place, damage):
    source = drawn[0].encode()
    with suppress(Refused):
        read_html(source[:place] + damage.encode("latin-1") + source[place:], 1 << 20)


# ------------------------------------------------------------------------------------------------ Markdown, text, CSV


@st.composite
def markdown(draw):
    lines, words = [], []
    for _ in range(draw(st.integers(1, 8))):
        run = draw(RUN)
        text = " ".join(run)
        form = draw(st.sampled_from((
            "{}\n", "# {}\n", "## {} ##\n", "### **{}**\n", "{}\n===\n", "{}\n---\n", "> {}\n", "> # {}\n",
            "- {}\n",
            "```\n# {}\n```\n", "````\n```\n{}\n````\n",
            "```{}``` x\n", "    {}\n", "| {} |\n|---|\n", "<div>{}</div>\n",
            "---\n{}\n---\n", "---\nkey: {}\n---\n", "1. # {}\n", "[l]: /u '{}'\n", "***\n{}\n", "~~~\n{}\n~~~\n",
        )))  # fmt: skip
        lines.append(form.format(text))
        words.append(run)
    return "\n".join(lines), words


@QUICK
@given(markdown())
def test_each_word_of_markdown_is_read_in_order(drawn):
    source, blocks = drawn
    parsed = read_markdown(source.encode(), 1)
    assert not parsed.omitted
    words = read_words(parsed)
    assert_in_order(blocks, words)
    for section in parsed.sections:
        assert 0 <= section.start < section.end <= len(parsed.text)


@QUICK
@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1))
def test_text_in_utf8_is_read_as_it_is(text):
    try:
        parsed = read_text(text.encode(), 1)
    except Refused:
        assert not text.strip("\ufeff \t\r\n\f\v") or not text.strip()
        return
    own = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip()
    assert (parsed.text, parsed.remark, parsed.omitted) == (own, None, ())


@QUICK
@given(
    st.lists(st.lists(st.text("w19,;\"' \nµ", max_size=9), min_size=2, max_size=2), min_size=1, max_size=6),
    st.sampled_from(",;\t|"),
)
def test_each_row_of_a_table_is_read_or_named(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerows([["id", "a", "b"], *([str(n), *row] for n, row in enumerate(rows, start=1))])
    path.write_text(buffer.getvalue())
    corpus = CsvCorpus(str(path), {"id": "id", "text": ["a", "b"]}, None, False, 1, None, ())
    items = list(corpus.documents())
    assert len(items) == len(rows)
    for item, row in zip(items, rows, strict=True):
        if isinstance(item, Document):
            assert [item.text[s.start : s.end] for s in item.sections] == [
                value.strip() for value in row if value.strip()
            ]
        else:
            assert item.source.startswith("t.csv, row ")


@QUICK
@given(st.integers(1, 6), st.data())
def test_a_quotation_mark_too_much_never_merges_rows(tmp_path_factory, count, data):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    rows = [[f"{n}", f"drug{n} {n} mg", f"note {n}"] for n in range(1, count + 1)]
    row, column = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, 2))
    value = rows[row][column]
    rows[row][column] = f'"{value}' if data.draw(st.booleans()) else f'{value}"'
    if data.draw(st.booleans()):
        last = data.draw(st.integers(0, count - 1))
        rows[last][2] += '"'
    path.write_text("id,text,note\n" + "".join(",".join(row) + "\n" for row in rows))
    items = list(CsvCorpus(str(path), {"id": "id", "text": ["text", "note"]}, None, False, 1, None, ()).documents())
    lines = 0
    for item in items:
        spans = [] if isinstance(item, Document) else re.findall(r"the lines (\d+) to (\d+)", item.reason)
        lines += int(spans[0][1]) - int(spans[0][0]) + 1 if spans else 1
    assert all(item.text.count(" mg") == 1 for item in items if isinstance(item, Document))
    assert lines == count
