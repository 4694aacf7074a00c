"""Reads web pages: builds a tree, omits page furniture, writes blocks and tables. Runs no scripts; loads no files."""

from __future__ import annotations

from cdsframe.corpus.readers.html.reader import read_html

__all__ = ["read_html"]
