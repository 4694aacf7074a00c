"""Reads web pages: headings, paragraphs, lists and tables, without page furniture.

Decodes the source by the Encoding Standard and parses it as browsers do. Does not run scripts or apply style sheets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from cdsframe.corpus.encodings import undecoded
from cdsframe.corpus.readers.html.around import mark
from cdsframe.corpus.readers.html.lines import Break, as_written, line, pieces
from cdsframe.corpus.readers.html.scripts import in_scripts
from cdsframe.corpus.readers.html.signs import read_signs
from cdsframe.corpus.readers.html.source import source_of
from cdsframe.corpus.readers.html.tables import is_data, lines_of
from cdsframe.corpus.readers.html.tree import HEADINGS, Node, tree_of
from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.text.blocks import Block, assemble
from cdsframe.types import Omission

_AS_WRITTEN = frozenset(("pre", "textarea", "listing", "xmp", "plaintext"))
"""Elements whose line breaks and spaces are kept."""


def read_html(data: bytes, limit: int) -> Parsed:
    """Reads HTML: h1 to h6 open sections, a block is a paragraph, a table row is a line. Omits page furniture.

    Raises Refused if the file is not text, is nested too deeply or has no text.
    """
    source = source_of(data)
    root = tree_of(source.text)
    mark(root)
    lost = read_signs(root)
    omitted: Counter[str] = Counter()
    text, sections = assemble(_blocks(root, omitted))
    if not sections and b"\0" in data:
        raise Refused("is binary (it holds NUL bytes)")
    items = [Omission(reason, count, text=False) for reason, count in omitted.items()]
    items.append(Omission("control characters", source.controls, text=False))
    items.append(Omission("strike-through marks that are not closed", source.struck_open, text=True))
    items += lost
    items += undecoded(source.replaced) + in_scripts(root, text)
    parsed = with_sections(text, sections, _title(root), items)
    return replace(parsed, remark=source.remark)


def _title(root: Node) -> str | None:
    """The page's only h1 if the title contains it (`Sepsis | St Elsewhere`), else the title; None without a title."""
    titles = [n for n in root.descendants() if n.tag == "title" and not any(a.tag == "svg" for a in n.ancestors())]
    title = " ".join("".join(titles[0].texts()).split()) if titles else ""
    heads = [node for node in root.descendants() if node.tag == "h1" and not node.out]
    head = line(heads[0], Counter()) if len(heads) == 1 else ""
    return (head if head and head.casefold() in title.casefold() else title) or None


def _blocks(root: Node, omitted: Counter[str]) -> Iterator[Block]:
    """The page's text as blocks, in order. An element that is not inline starts and ends a block."""
    pending: list[str] = []

    def flush() -> Iterator[Block]:
        text = " ".join("".join(pending).split())
        pending.clear()
        if text:
            yield Block(text)

    for piece in pieces(root, omitted, _is_apart):
        if isinstance(piece, str):
            pending.append(piece)
        elif piece is Break.LINE:
            pending.append(" ")
        else:
            yield from flush()
            if isinstance(piece, Node):
                yield _whole(piece, omitted)
    yield from flush()


def _is_apart(node: Node) -> bool:
    return node.tag in _AS_WRITTEN or bool(_level(node)) or (node.tag == "table" and is_data(node))


def _whole(node: Node, omitted: Counter[str]) -> Block:
    """The block of a heading, a table or preformatted text."""
    if node.tag == "table":
        return Block("\n".join(lines_of(node, omitted)))
    if node.tag in _AS_WRITTEN:
        return Block(as_written(node, omitted))
    return Block(line(node, omitted), _level(node))


def _level(node: Node) -> int:
    """The heading level, 1 to 9; 0 for other elements."""
    if node.tag in HEADINGS:
        return int(node.tag[1])
    level = node.get("aria-level")
    return (int(level) if re.fullmatch("[1-9]", level) else 2) if node.get("role") == "heading" else 0
