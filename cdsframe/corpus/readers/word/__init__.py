"""Reads Word files: package, styles, numbering, paragraphs, tables. Does not read the old binary format."""

from __future__ import annotations

from cdsframe.corpus.readers.word.reader import read_docx

__all__ = ["read_docx"]
