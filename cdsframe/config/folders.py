"""Where the built-in configuration files are. Does not read them."""

from __future__ import annotations

from pathlib import Path

PRIMARIES = ("ingest", "train", "evaluate", "serve", "ask")
"""The commands, each with a primary configuration of its name."""


def built_in() -> Path:
    """The folder `configs` of an installed package, or that of a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
