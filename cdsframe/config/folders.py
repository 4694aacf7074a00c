"""Locates the built-in configuration files. Does not read them."""

from __future__ import annotations

from pathlib import Path

PRIMARIES = ("ingest", "train", "evaluate", "serve", "ask")
"""The commands; each has a primary configuration with its name."""


def built_in() -> Path:
    """The folder `configs` of the installed package, or of the source checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
