"""Web pages: source to tree, furniture, blocks and tables. Runs no scripts and loads nothing."""

from __future__ import annotations

from cdsframe.corpus.readers.html.reader import read_html

__all__ = ["read_html"]
