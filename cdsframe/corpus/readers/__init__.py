"""Readers of single files: `READERS` maps a file suffix to a function that turns bytes into text with sections.

A reader takes the file's bytes and a limit in bytes, `corpus.max_megabytes`: an archive must not unpack to more. It
raises Refused, with the reason, if the file cannot be read. Readers do not open files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from cdsframe.corpus.readers.html import read_html
from cdsframe.corpus.readers.parsed import Parsed, Refused
from cdsframe.corpus.readers.pdf import read_pdf
from cdsframe.corpus.readers.table import read_table
from cdsframe.corpus.readers.text import read_markdown, read_text
from cdsframe.corpus.readers.word import read_docx

Reader = Callable[[bytes, int], Parsed]

READERS: dict[str, Reader] = {
    ".txt": read_text,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".docx": read_docx,
    ".docm": read_docx,
    ".dotx": read_docx,
    ".dotm": read_docx,
    ".doc": read_docx,  # some .doc files contain .docx; for the old .doc format, Refused names a fix
    ".pdf": read_pdf,
    ".csv": read_table,
    ".tsv": read_table,
}


def reader_of(suffix: str, known_fields: Sequence[str]) -> Reader | None:
    """Returns the reader of a file suffix; None if the suffix is not supported.

    Args:
        suffix: in lower case, with its dot.
        known_fields: metadata fields, by which a Markdown reader recognises front matter.
    """
    reader = READERS.get(suffix)
    return partial(read_markdown, known_fields=known_fields) if reader is read_markdown else reader


__all__ = ["READERS", "Parsed", "Refused", "reader_of"]
