"""Opens the parts of a Word file (Open Packaging Conventions): a zip archive with relationships. Interprets no part."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from cdsframe.corpus.readers.parsed import Refused
from cdsframe.corpus.readers.word.names import attribute


class Package:
    """An opened file. `damaged` holds the optional parts that could not be read.

    Raises Refused if the archive or the main part cannot be read, or if the archive unpacks to more than `limit` bytes.
    """

    def __init__(self, data: bytes, limit: int) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            members = self._archive.infolist()
        except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
            raise Refused("is not a readable .docx: it is not a zip archive, or the archive is damaged") from None
        if sum(member.file_size for member in members) > limit:
            raise Refused(f"unpacks to more than {limit >> 20} MB (corpus.max_megabytes)")
        # Part names are case-insensitive, and some programs write backslashes.
        self._members = {_normal(member.filename): member for member in members}
        self.damaged: Counter[str] = Counter()
        main = next((target for kind, target in self.relationships("").values() if kind == "officeDocument"), None)
        self.main = main if main in self._members else "word/document.xml"
        if self.main not in self._members:
            raise Refused("is not a readable .docx: it has no document part")
        self.document = self.root(self.main)
        if self.document is None:
            raise Refused("is not a readable .docx: its document part is damaged")

    def bytes(self, part: str) -> bytes | None:
        """Returns a part's content. If the part is missing or damaged, adds it to `damaged` and returns None."""
        import zlib

        member = self._members.get(part)
        try:
            if member is not None:
                return self._archive.read(member)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError, ValueError):
            pass
        self.damaged[part] = 1
        return None

    def root(self, part: str) -> Any:
        """Returns a part's root element. If the part cannot be read, adds it to `damaged` and returns None."""
        from lxml import etree

        if (data := self.bytes(part)) is None:
            return None
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, remove_comments=True)
        try:
            return etree.fromstring(data, parser)
        except (etree.XMLSyntaxError, ValueError):
            self.damaged[part] = 1
            return None

    def relationships(self, part: str) -> dict[str, tuple[str, str]]:
        """A part's relationships ("" is the package) to other parts: id -> (last segment of the type, target part)."""
        folder, _, file = part.rpartition("/")
        place = f"{folder}/_rels/{file}.rels".lstrip("/") if part else "_rels/.rels"
        root = self.root(place) if place in self._members else None
        found = {}
        for item in root if root is not None else ():
            if not isinstance(item.tag, str) or (attribute(item, "TargetMode") or "").casefold() == "external":
                continue
            kind = (attribute(item, "Type") or "").rpartition("/")[2]
            target = _normal(posixpath.join("/" + folder, unquote(attribute(item, "Target") or "")))
            found[attribute(item, "Id") or ""] = kind, target
        return found

    def related(self, part: str, kind: str) -> Iterator[str]:
        """The distinct target parts of a part's relationships of one kind."""
        yield from dict.fromkeys(target for type_, target in self.relationships(part).values() if type_ == kind)


def _normal(path: str) -> str:
    return posixpath.normpath("/" + path.replace("\\", "/")).lstrip("/").lower()
