"""Readers of single files: bytes to a text with sections, for each suffix in `READERS`.

Each takes the bytes and how many bytes they may unpack to, and raises Refused with a reason in words where a file
cannot be read; none knows where the bytes come from.
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
    ".doc": read_docx,  # some hold .docx; the old format is refused with what helps
    ".pdf": read_pdf,
    ".csv": read_table,
    ".tsv": read_table,
}

__all__ = ["READERS", "Parsed", "Refused"]
