"""Readers of single files: `READERS` maps a file suffix to a function that turns bytes into text with sections.

A reader takes the file's bytes and a limit in bytes, `corpus.max_megabytes`: an archive must not unpack to more. It
raises Refused, with the reason, if the file cannot be read. Readers do not open files.
"""

from __future__ import annotations

from collections.abc import Callable

from cdsframe.corpus.readers.html import read_html
from cdsframe.corpus.readers.parsed import Parsed, Refused
from cdsframe.corpus.readers.pdf import read_pdf
from cdsframe.corpus.readers.table import read_table
from cdsframe.corpus.readers.text import read_markdown, read_text
from cdsframe.corpus.readers.word import read_docx

READERS: dict[str, Callable[[bytes, int], Parsed]] = {
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

__all__ = ["READERS", "Parsed", "Refused"]
