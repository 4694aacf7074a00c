"""Lets overrides add keys to the mappings that take any key: `filter` and `corpus.fields`. Composes nothing.

Hydra itself demands a plus sign for a key that the configuration files do not list, such as a metadata field of yours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_FILTER = re.compile(r"filter\.[\w.-]+=")
_COLUMN = re.compile(r"corpus\.fields\.[\w.-]+=")


def with_plus(overrides: Iterable[str], primary: Path) -> list[str]:
    """Puts `++` before each override of such a key; not before `filter` if the primary configuration has no filter."""
    filtered = re.search(r"^filter:", primary.read_text(encoding="utf-8"), re.MULTILINE)
    return [f"++{one}" if _COLUMN.match(one) or (filtered and _FILTER.match(one)) else one for one in overrides]
