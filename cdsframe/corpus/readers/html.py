"""Web pages without what surrounds their text: navigation, banners, side columns, footers, cookie notices, scripts.

Goes by elements, ARIA roles and the names that sites give such parts; does not weigh how much of a block is links, as
boilerplate removers do, because short blocks, lists and tables are what a clinical page is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cdsframe.corpus.encodings import MARKS, decode
from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.corpus.records import Block, assemble

_INLINE = {
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img", "ins", "kbd",
    "label", "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr", "td", "th",
    "br",
}  # fmt: skip
_SKIPPED = {
    "script", "style", "noscript", "template", "head", "nav", "aside", "svg", "button", "select", "textarea", "dialog",
    "iframe", "object", "audio", "video", "canvas",
}  # fmt: skip
_ROLES = {"navigation", "banner", "contentinfo", "complementary", "search", "dialog", "alertdialog", "menu", "menubar"}
_NAMES = re.compile(
    r"(?:\w+[_-])?(?:cookies?|gdpr|onetrust|breadcrumbs?|skip-?(?:link|nav|to-content)|nav|navbar|navigation|menu|"
    r"sidebar|site-?(?:header|footer)|page-?footer|footer|social|share|sharing|newsletter|related|comments|"
    r"back-to-top)(?:[_-](?:links?|list|bar|buttons?|banner|notice|consent|left|right|wrapper|container|content|inner))*",
    re.IGNORECASE,
)
"""Names, as ids and classes, of what stands around the text."""
_MANY_LINKS = 4
_ESSENTIAL = ".//main | .//article | .//h1 | .//*[@role='main']"
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=|<\?xml[^>]+encoding\s*=", re.IGNORECASE)


def read_html(data: bytes, limit: int) -> Parsed:
    """HTML: h1 to h6 open sections, each block is a paragraph, a table's row is a line; what is not text goes."""
    from lxml import etree, html

    data, encoding, guessed = _as_bytes(data)
    parser = html.HTMLParser(encoding=encoding, huge_tree=True)
    try:
        root = html.document_fromstring(data, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        raise Refused("has no text" if not parser.error_log else "is not HTML") from None
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise Refused("is nested too deeply")  # what is below would be lost without a word
    main = root.xpath("//main | //*[@role='main']")
    text, sections = assemble(_blocks(main[0] if len(main) == 1 and _text(main[0]) else root))
    parsed = with_sections(text, sections, _title(root))
    return Parsed(parsed.text, parsed.sections, parsed.title, guessed=guessed)


def _as_bytes(data: bytes) -> tuple[bytes, str | None, str | None]:
    """The page's bytes, their encoding (None: as the page declares it), and the encoding if it was guessed."""
    marked = any(data.startswith(mark) for mark, _ in MARKS)
    try:
        if not marked and b"\0" not in data and _CHARSET.search(data[:4096]):
            data.decode("utf-8")
            return data, "utf-8", None  # whatever it declares
    except UnicodeDecodeError:
        return data, None, None
    try:
        text, guessed = decode(data)
    except ValueError as error:
        raise Refused(str(error)) from None
    return text.encode(), "utf-8", guessed


def _title(root: Any) -> str | None:
    """The page's title, or its only h1 where the title only adds to that (`Sepsis | St Elsewhere`)."""
    title = " ".join((root.findtext(".//title") or "").split())
    heads = root.findall(".//h1")
    head = _text(heads[0]) if len(heads) == 1 else ""
    return (head if head and head.casefold() in title.casefold() else title) or None


def _text(node: Any) -> str:
    return " ".join("".join(node.itertext()).split())


def _blocks(root: Any) -> Iterator[Block]:
    """The page's text by blocks, in order: an element that is not inline begins and ends a block."""
    from lxml import etree

    pending: list[str] = []

    def flush(level: int = 0) -> Iterator[Block]:
        text = " ".join("".join(pending).split()).strip("| ")
        pending.clear()
        if text:
            yield Block(text, level)

    skipped, whole = None, len(_text(root))
    walker = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, node in walker:
        tag = node.tag if isinstance(node.tag, str) else None
        if event == "start":
            table = tag == "table" and not node.xpath(".//table | .//h1 | .//h2 | .//h3 | .//h4 | .//h5 | .//h6")
            if tag not in _INLINE:
                yield from flush()
            if table or (node is not root and _is_around(node, tag, whole)):
                walker.skip_subtree()
                skipped = node
                if table:
                    yield Block("\n".join(filter(None, map(_row, node.iter("caption", "tr")))))
            else:
                pending.append(" " if tag == "br" else node.text or "")
            continue
        if event == "end":
            if tag in ("td", "th"):
                pending.append(" | ")
            if tag not in _INLINE and node is not skipped:
                yield from flush(int(tag[1]) if tag and re.fullmatch("h[1-6]", tag) else 0)
        if node is not root:
            pending.append(node.tail or "")
    yield from flush()


def _row(row: Any) -> str:
    if row.tag == "caption":
        return _text(row)
    return " | ".join(_text(cell) for cell in row if cell.tag in ("td", "th")).strip("| ")


def _is_around(node: Any, tag: str | None, whole: int) -> bool:
    """Whether an element is a part of the site and not of its text, which has `whole` characters."""
    if tag is None or tag in _SKIPPED or node.get("role") in _ROLES:
        return True
    if tag in ("header", "footer"):
        return not any(parent.tag in ("main", "article", "section") for parent in node.iterancestors())
    if tag == "form":
        return not node.xpath(".//h1 | .//h2 | .//p | .//table | .//main")
    if tag in ("html", "body", "main", "article") or tag in _INLINE:
        return False
    names = f"{node.get('id', '')} {node.get('class', '')}".split()
    if not any(map(_NAMES.fullmatch, names)) and not _is_links(node, tag):
        return False
    return not node.xpath(_ESSENTIAL) and len(_text(node)) < whole / 2


def _is_links(node: Any, tag: str) -> bool:
    """Whether an element is a list of links: navigation, whatever its name."""
    if tag not in ("ul", "ol", "div", "section"):
        return False
    links = node.findall(".//a")
    return len(links) >= _MANY_LINKS and sum(len(_text(link)) for link in links) > 0.8 * len(_text(node))
