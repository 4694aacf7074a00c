"""A folder of files (txt, md, html, docx, pdf, csv) as a corpus, one document a file, headings kept as sections.

Does not follow symbolic links, recognise scanned pages, or guess what a file says of itself: metadata comes from the
YAML front matter of Markdown files only.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFolder, resolve
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.parallel import Died, TooLong, ordered, time_limit
from cdsframe.corpus.readers import READERS, Refused
from cdsframe.corpus.records import checked
from cdsframe.corpus.tree import in_words, read_bytes, walk
from cdsframe.text.blocks import under_title
from cdsframe.text.printable import plain
from cdsframe.types import METADATA_FIELDS, Document, Unreadable

log = logging.getLogger(__name__)

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")

_PLACEHOLDERS = {"untitled", "untitled document", "no title", "title", "document", "new document", "unbenannt"}
"""Titles that programs write where nobody gave one."""

_Task = tuple[str, Path | str]
"""A source's name, and its path or why it is not to be read."""


class Folder:
    """All files below a folder, in the order of their paths; names that begin with a dot are passed over.

    A Markdown file's front matter gives `id`, `title` and the metadata fields. Elsewhere the id is the relative path
    and the title the document's own, its first heading, or the file's name. `metadata["source"]` is the relative path.

    Args:
        path: the folder, or `package:NAME/…`.
        strict: refuse the whole corpus when one file cannot be read.
        max_megabytes: a larger file is refused, and one that unpacks to more.
        max_seconds: a file that takes longer is given up.
        workers: processes that read; 0 or 1 reads in this one.
        name: which corpus this is.
    """

    def __init__(
        self,
        path: InputFolder,
        strict: bool,
        max_megabytes: Annotated[int, Field(ge=1)],
        max_seconds: Annotated[int, Field(ge=1)],
        workers: Annotated[int, Field(ge=0)],
        name: CorpusName,
    ) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        self._root, self._strict, self._workers = resolve(path), strict, workers
        self._paths: dict[str, Path] = {}
        self._read = partial(read_file, root=self._root, limit=max_megabytes << 20, seconds=max_seconds)

    def documents(self) -> Iterator[Document | Unreadable]:
        """Every file's document, or why there is none; at most a few files are held at once."""
        return checked(self._items(walk(self._root)), self._strict)

    def __length_hint__(self) -> int:
        """How many files there are now."""
        return sum(1 for _ in walk(self._root))

    def stamps(self) -> tuple[dict[str, Hashable], list[Unreadable]]:
        """Source -> what differs when the file may have changed; and what cannot be looked at."""
        stamps: dict[str, Hashable] = {}
        refused: list[Unreadable] = []
        self._paths = {}
        for source, path in walk(self._root):
            try:
                if isinstance(path, Path):
                    stat = path.lstat()
                    self._paths[source] = path
                    stamps[source] = stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
                else:
                    refused.append(Unreadable(source, path))
            except FileNotFoundError:
                continue
            except OSError as error:
                refused.append(Unreadable(source, in_words(error)))
        return stamps, refused

    def read(self, sources: Iterable[str]) -> Iterator[tuple[str, Document | Unreadable]]:
        """The sources, as `stamps` named them last, and what they hold."""
        for source, item in self._items((source, self._paths[source]) for source in sources):
            yield source, next(checked([(source, item)], strict=False))

    def _items(self, tasks: Iterable[_Task]) -> Iterator[tuple[str, Document | str]]:
        for (source, _), result in ordered(self._read, tasks, self._workers):
            if isinstance(result, Died):
                yield source, "ended the process that read it, which may have run out of memory"
                continue
            item, remark = result
            if remark:
                log.warning("%s: %s", plain(source, ""), plain(remark, ""))
            yield source, item


def read_file(task: _Task, root: Path, limit: int, seconds: float) -> tuple[Document | str, str | None]:
    """A file's document, or why there is none; and a remark for the log, if there is one."""
    source, path = task
    if isinstance(path, str):
        return path, None
    reader = READERS.get(path.suffix.lower())
    try:
        if reader is None:
            advice = "; save it as CSV" if path.suffix.lower() in _SPREADSHEETS else ""
            raise Refused(f"is of no known kind ({', '.join(sorted(READERS))}){advice}")
        data = read_bytes(path, limit, root)
        if not data.strip():
            raise Refused("is empty")
        with time_limit(seconds):
            parsed = reader(data, limit)
    except Refused as refusal:
        return str(refusal), None
    except OSError as error:
        return in_words(error), None
    except RecursionError:
        return "is nested too deeply", None
    except MemoryError:
        return "needs more memory than there is", None
    except TooLong:
        return f"takes longer than {seconds:g} seconds to read (corpus.max_seconds)", None
    first = parsed.sections[0].heading[:1] if parsed.sections else ()
    own = (parsed.title if parsed.title is not None else "".join(first)).strip()
    front = parsed.front
    title = (
        front.get("title") or ("" if own.casefold() in _PLACEHOLDERS else own) or Path(source).stem.strip() or source
    )
    metadata = {key: front[key] for key in METADATA_FIELDS if front.get(key)} | {"source": source}
    sections = under_title(title, parsed.sections)
    document = Document(front.get("id") or source, title, parsed.text, sections, metadata, parsed.omitted)
    return document, parsed.remark
