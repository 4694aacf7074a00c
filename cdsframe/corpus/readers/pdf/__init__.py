"""Reads PDF files: letters to lines, columns, tables and headings. Does not recognise scanned text."""

from __future__ import annotations

from cdsframe.corpus.readers.pdf.reader import read_pdf

__all__ = ["read_pdf"]
