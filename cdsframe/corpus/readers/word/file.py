"""Reads a Word file as blocks and counts the omitted parts. Chooses no title and builds no sections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from cdsframe.corpus.encodings import decode
from cdsframe.corpus.readers.parsed import Parsed, Refused
from cdsframe.corpus.readers.word.blocks import Blocks
from cdsframe.corpus.readers.word.drawings import chart_lines, diagram_lines
from cdsframe.corpus.readers.word.names import attribute, name, texts
from cdsframe.corpus.readers.word.numbering import Numbering
from cdsframe.corpus.readers.word.package import Package
from cdsframe.corpus.readers.word.story import Reader
from cdsframe.corpus.readers.word.styles import Styles
from cdsframe.text.blocks import Block
from cdsframe.types import Omission

_NOTES = {"w:footnoteReference": "footnote", "w:endnoteReference": "endnote"}


class WordFile:
    """An opened file. Call `blocks` once; afterwards `titles` and `omitted` are complete.

    Args:
        package: the file's parts.
        nested: reads an embedded document, given its file suffix and bytes; returns None for an unsupported format.
    """

    def __init__(self, package: Package, nested: Callable[[str, bytes], Parsed | None]) -> None:
        self._package, self._nested = package, nested
        self._styles = Styles(self._part("styles"))
        self._numbering = Numbering(self._part("numbering"), self._styles)
        self._omitted: Counter[tuple[str, bool]] = Counter()
        self._inner: list[Omission] = []
        self._notes: dict[str, _Notes] = {}
        self.titles: list[str] = []

    def blocks(self) -> list[Block]:
        """The body's blocks. A note stands in brackets at its reference mark; a heading's note is the next block."""
        body, reader = self._reading(self._package.main, self._package.document)
        found = list(body.of(self._story(self._package.document)))
        self.titles = body.titles
        self._count_unread(self._package.document, reader)
        for notes in self._notes.values():
            notes.leave_out_rest()
            self._count_unread(notes.root, notes.reader)
        self._count_around()
        return found

    @property
    def omitted(self) -> list[Omission]:
        """Counts of content that is not in the blocks."""
        own = [Omission(reason, count, text) for (reason, text), count in self._omitted.items()]
        damaged = [Omission("damaged parts", len(self._package.damaged), True)] if self._package.damaged else []
        return [*own, *damaged, *self._inner]

    def _part(self, kind: str) -> Any:
        found = next(self._package.related(self._package.main, kind), None)
        return None if found is None else self._package.root(found)

    def _story(self, root: Any) -> Any:
        """The part's `w:body`, without the background shapes, which repeat on every page; else the root."""
        return next((item for item in root if name(item) == "w:body"), root)

    def _reading(self, part: str, root: Any) -> tuple[Blocks, Reader]:
        reader = Reader(root, self._styles, self._note, self._omitted)
        relations = self._package.relationships(part)
        blocks = Blocks(reader, self._styles, self._numbering, lambda item: self._foreign(item, relations))
        return blocks, reader

    def _note(self, reference: Any) -> str:
        """The text of a footnote or endnote at its first reference mark; "" at later ones."""
        kind = _NOTES[name(reference)]
        if kind not in self._notes:
            part = next(self._package.related(self._package.main, f"{kind}s"), "")
            root = self._package.root(part) if part else None
            if root is None:
                return ""
            self._notes[kind] = _Notes(root, *self._reading(part, root))
        text = self._notes[kind].take(attribute(reference, "id") or "")
        return f"{kind}: {text}" if text else ""

    def _count_unread(self, root: Any, reader: Reader) -> None:
        if (unread := texts(root) - reader.seen) > 0:
            self._omitted["runs of text in places that are not read", True] += unread

    def _count_around(self) -> None:
        """Counts headers, footers, comments, and footnotes (or endnotes) if none of them has a reference mark."""
        related = self._package.relationships(self._package.main).values()
        for kind, part in dict.fromkeys(related):
            if kind in ("header", "footer"):
                root = self._package.root(part)
                self._omitted["page headers and footers", False] += bool(root is not None and texts(root))
            elif kind == "comments" and (root := self._package.root(part)) is not None:
                self._omitted["comments", False] += sum(1 for item in root if texts(item))
            elif kind in ("footnotes", "endnotes") and kind[:-1] not in self._notes:
                root = self._package.root(part)
                unmarked = sum(1 for item in root if texts(item)) if root is not None else 0
                self._omitted["notes without a mark", False] += unmarked

    def _foreign(self, item: Any, relations: dict[str, tuple[str, str]]) -> Iterator[Block]:
        """Yields the blocks of a chart, diagram or embedded document; counts it as omitted if it cannot be read."""
        tag = name(item)
        _, part = relations.get(attribute(item, "dm" if tag == "dgm:relIds" else "id") or "", ("", ""))
        if tag in ("c:chart", "dgm:relIds"):
            root = self._package.root(part) if part else None
            if root is None:
                self._omitted["charts and diagrams without data", True] += 1
                return
            lines = list(chart_lines(root) if tag == "c:chart" else diagram_lines(root))
            yield from map(Block, ["\n".join(lines)] if tag == "c:chart" else lines)
        elif tag == "w:altChunk" and part and (data := self._package.bytes(part)) is not None:
            try:
                parsed = self._nested(part.rpartition(".")[2], data)
            except Refused:
                parsed = None
            if parsed is None:
                self._omitted["embedded documents that cannot be read", True] += 1
            else:
                self._inner += parsed.omitted
                yield Block(parsed.text)
        else:
            self._omitted["embedded documents that cannot be read", True] += 1


class _Notes:
    """The footnotes or the endnotes of a file."""

    def __init__(self, root: Any, blocks: Blocks, reader: Reader) -> None:
        self.root, self.reader, self._blocks = root, reader, blocks
        self._rest = {attribute(item, "id") or "": item for item in root if name(item) in ("w:footnote", "w:endnote")}

    def take(self, id_: str) -> str:
        """A note's text at the first call; "" afterwards."""
        item = self._rest.pop(id_, None)
        if item is None:
            return ""
        return " ".join(" ".join(block.text.split()) for block in self._blocks.of(item))

    def leave_out_rest(self) -> None:
        """Counts the notes to which no mark referred. Separators are not notes: they have no text."""
        for item in self._rest.values():
            self.reader.leave_out(item, "notes without a mark")


def plain_text(data: bytes) -> Parsed:
    """Reads an embedded text file. Raises ValueError if the bytes are not text."""
    decoded = decode(data)
    return Parsed(decoded.text.strip(), (), remark=decoded.remark, omitted=decoded.omitted)
