"""Locates the built-in configuration files. Does not read them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

PRIMARIES = ("ingest", "train", "evaluate", "serve", "ask")
"""The commands; each has a primary configuration with its name."""


def built_in() -> Path:
    """The folder `configs` of the installed package, or of the source checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


@cache
def groups() -> frozenset[str]:
    """The names of the config groups."""
    return frozenset(path.name for path in built_in().iterdir() if path.is_dir())


@cache
def built_in_targets() -> frozenset[str]:
    """The `_target_`s of all built-in options."""
    options = (path.read_text(encoding="utf-8") for path in built_in().glob("*/*.yaml"))
    return frozenset(target for text in options for target in re.findall(r"_target_: *([\w.]+)", text))
