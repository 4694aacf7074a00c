"""A folder of files (txt, md, html, docx, pdf) as a corpus, one document a file, headings kept as sections.

Does not follow symbolic links, recognise scanned pages, or guess what a file says of itself: metadata comes from the
YAML front matter of Markdown files only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cdsframe.corpus.readers import READERS, Refused
from cdsframe.corpus.records import checked, under_title
from cdsframe.files import InputFolder, resolve
from cdsframe.types import METADATA_FIELDS, Document, Unreadable

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


class Folder:
    """All files below a folder, in the order of their paths; names that begin with a dot are passed over.

    A Markdown file's front matter gives `id`, `title` and the metadata fields. Elsewhere the id is the relative path
    and the title the document's own, its first heading, or the file's name. `metadata["source"]` is the relative path.

    Args:
        path: the folder, or `package:NAME/…`.
        strict: refuse the whole corpus when one file cannot be read.
    """

    def __init__(self, path: InputFolder, strict: bool) -> None:
        self._root, self._strict = resolve(path), strict

    def documents(self) -> Iterator[Document | Unreadable]:
        """Every file's document, or why there is none."""
        return checked(self._walk(), self._strict)

    def _walk(self) -> Iterator[tuple[str, Document | str]]:
        failed: list[OSError] = []
        for folder, folders, names in os.walk(self._root, onerror=failed.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in sorted([*links, *(name for name in names if not name.startswith("."))]):
                yield self._read(Path(folder) / name)
        for error in failed:
            yield self._source(Path(error.filename)), error.strerror or "cannot be listed"

    def _source(self, path: Path) -> str:
        """The relative path; a name that is not UTF-8 is written with escapes."""
        return path.relative_to(self._root).as_posix().encode("utf-8", "backslashreplace").decode()

    def _read(self, path: Path) -> tuple[str, Document | str]:
        source = self._source(path)
        reader = READERS.get(path.suffix.lower())
        try:
            if path.is_symlink():
                raise Refused("is a symbolic link, which is not followed")
            if not path.is_file():
                raise Refused("is not a regular file")
            if reader is None:
                raise Refused(f"is of no known kind ({', '.join(sorted(READERS))})")
            data = path.read_bytes()
            if not data.strip():
                raise Refused("is empty")
            front: dict[str, str] = {}
            if path.suffix.lower() in (".md", ".markdown"):
                front, data = _front_matter(data)
            parsed = reader(data)
        except Refused as refusal:
            return source, str(refusal)
        except OSError as error:
            return source, error.strerror or "cannot be opened"
        first = parsed.sections[0].heading[:1] if parsed.sections else ()
        own = parsed.title if parsed.title is not None else "".join(first)
        title = front.get("title") or own or Path(source).stem
        metadata = {key: front[key] for key in METADATA_FIELDS if front.get(key)} | {"source": source}
        sections = under_title(title, parsed.sections)
        return source, Document(front.get("id") or source, title, parsed.text, sections, metadata)


def _front_matter(data: bytes) -> tuple[dict[str, str], bytes]:
    """The YAML between two lines `---` at the top, all values as text, and the bytes behind it."""
    import yaml

    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return {}, data  # the reader says what is wrong
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, data
    try:
        values = yaml.load(found[1], Loader=yaml.BaseLoader)  # noqa: S506 (the base loader makes only text)
    except (yaml.YAMLError, RecursionError):
        raise Refused("has front matter that is not YAML") from None
    if not isinstance(values, dict):
        raise Refused("has front matter that is not a mapping")
    lists = {key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()}
    return {str(key): value.strip() for key, value in lists.items() if isinstance(value, str)}, text[
        found.end() :
    ].encode()
