"""Reads a folder of files (txt, md, html, docx, pdf, csv) as a corpus: one document for each file, with its sections.

Does not follow symbolic links and does not recognise the text of scanned pages. Reads metadata only from the YAML front
matter of Markdown files.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFolder, resolve
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.parallel import Died, TooLong, ordered, time_limit
from cdsframe.corpus.readers import READERS, Refused, reader_of
from cdsframe.corpus.records import checked
from cdsframe.corpus.tree import in_words, read_bytes, walk
from cdsframe.text.blocks import under_title
from cdsframe.text.printable import plain
from cdsframe.types import STANDARD_FIELDS, Document, Omission, Unreadable

log = logging.getLogger(__name__)

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")

_PLACEHOLDERS = {"untitled", "untitled document", "no title", "title", "document", "new document", "unbenannt"}
"""Titles that word processors set by default. They are ignored."""

_Task = tuple[str, Path | str]
"""(source, path). A str instead of the path is the reason why the file is not read."""


class Folder:
    """All files below a folder, in the order of their paths. Skips files and folders whose names begin with a dot.

    A Markdown file's front matter gives `id`, `title` and the metadata fields. For other files, the id is the relative
    path; the title is the document's title, else its first heading, else the file's name. `metadata["source"]` is the
    relative path.

    Args:
        path: the folder; `package:NAME/…` is a folder inside the installed package cdsframe.
        strict: whether the first file that is unreadable or loses text raises InputError; otherwise each unreadable
            file becomes an Unreadable.
        max_megabytes: maximum size of a file, before and after decompression; a larger one is unreadable.
        max_seconds: time limit for reading a file; a file that takes longer is unreadable.
        workers: number of processes that read; with 0 or 1, this process reads.
        name: the name by which an index identifies the corpus; None derives it from the path.
        metadata_fields: the deployment's own metadata fields.
    """

    def __init__(
        self,
        path: InputFolder,
        strict: bool,
        max_megabytes: Annotated[int, Field(ge=1)],
        max_seconds: Annotated[int, Field(ge=1)],
        workers: Annotated[int, Field(ge=0)],
        name: CorpusName,
        metadata_fields: Sequence[str],
    ) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        self._root, self._strict, self._workers = resolve(path), strict, workers
        self._paths: dict[str, Path] = {}
        self._read = partial(
            read_file,
            root=self._root,
            limit=max_megabytes << 20,
            seconds=max_seconds,
            known_fields=(*STANDARD_FIELDS, *metadata_fields),
        )

    def documents(self) -> Iterator[Document | Unreadable]:
        """Yields a Document or an Unreadable for each file. Holds a few files in memory at a time."""
        return checked(self._items(walk(self._root)), self._strict)

    def __length_hint__(self) -> int:
        """Counts the files in the folder."""
        return sum(1 for _ in walk(self._root))

    def stamps(self) -> tuple[dict[str, Hashable], list[Unreadable]]:
        """Returns a stamp for each source, and the sources that cannot be examined.

        If a file's stamp (times, size, inode) differs from an earlier stamp, the file may have changed.
        """
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
        """Reads the given sources, which the latest call of `stamps` must have returned.

        Yields `(source, its Document or Unreadable)`.
        """
        for source, item in self._items((source, self._paths[source]) for source in sources):
            yield source, next(checked([(source, item)], strict=False))

    def _items(self, tasks: Iterable[_Task]) -> Iterator[tuple[str, Document | str]]:
        for (source, _), result in ordered(self._read, tasks, self._workers):
            if isinstance(result, Died):
                yield source, "ended its reader process, which may have run out of memory"
                continue
            item, remark = result
            if remark:
                log.warning("%s: %s", plain(source, ""), plain(remark, ""))
            yield source, item


def read_file(
    task: _Task, root: Path, limit: int, seconds: float, known_fields: Sequence[str] = STANDARD_FIELDS
) -> tuple[Document | str, str | None]:
    """Returns `(document, remark)`, or `(reason, None)` if the file cannot be read.

    The remark says for the log how the file was read; it is None if nothing is to be logged.
    """
    source, path = task
    if isinstance(path, str):
        return path, None
    reader = reader_of(path.suffix.lower(), known_fields)
    try:
        if reader is None:
            advice = "; save it as CSV" if path.suffix.lower() in _SPREADSHEETS else ""
            raise Refused(f"has an unsupported file type (supported: {', '.join(sorted(READERS))}){advice}")
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
        return "needs more memory than is available", None
    except TooLong:
        return f"takes longer than {seconds:g} seconds to read (corpus.max_seconds)", None
    first = parsed.sections[0].heading[:1] if parsed.sections else ()
    own = (parsed.title if parsed.title is not None else "".join(first)).strip()
    front = parsed.front
    title = (
        front.get("title") or ("" if own.casefold() in _PLACEHOLDERS else own) or Path(source).stem.strip() or source
    )
    metadata = {key: text for key in known_fields if (text := front.get(key))} | {"source": source}
    unused = sum(1 for key, text in front.items() if not text or key not in ("id", "title", *known_fields))
    omitted = [Omission("keys of front matter that are not used", unused, text=False)] * bool(unused)
    sections = under_title(title, parsed.sections)
    document = Document(front.get("id") or source, title, parsed.text, sections, metadata, (*omitted, *parsed.omitted))
    return document, parsed.remark
