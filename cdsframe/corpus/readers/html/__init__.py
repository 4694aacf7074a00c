"""Reads web pages: source to tree, page furniture, blocks and tables. Runs no scripts and loads no other files."""

from __future__ import annotations

from cdsframe.corpus.readers.html.reader import read_html

__all__ = ["read_html"]
