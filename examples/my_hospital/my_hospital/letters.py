"""A corpus of letters: one text file each, the first line is the title."""

from collections.abc import Iterator
from pathlib import Path

from cdsframe import Document, Section
from cdsframe.artifacts.files import InputFolder
from cdsframe.types import Unreadable


class Letters:
    """Every `.letter` file of a folder.

    Args:
        path: the folder.
        name: identifies the corpus in an index that has several.
    """

    def __init__(self, path: InputFolder, name: str) -> None:
        self._path, self.name = Path(path), name

    def documents(self) -> Iterator[Document | Unreadable]:
        """Yields each letter, or why it cannot be read; the others are read all the same."""
        for file in sorted(self._path.glob("*.letter")):
            try:
                title, _, text = file.read_text(encoding="utf-8").partition("\n")
            except UnicodeDecodeError:
                yield Unreadable(file.name, "not UTF-8 text")
                continue
            sections = (Section((), 0, len(text)),)
            yield Document(file.stem, title, text, sections, {"kind": "letter", "source": file.name})
