"""Lets overrides add keys to mappings that take any key: `filter`, `corpus.fields`, `trainer.options`.

Hydra itself demands a plus sign for a key that the configuration files do not list, such as a metadata field of yours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_FILTER = re.compile(r"filter\.[\w.-]+=")
_ANY_KEY = re.compile(r"(corpus\.fields|trainer\.options)\.[\w.-]+=")


def with_plus(overrides: Iterable[str], primary: Path) -> list[str]:
    """Puts `++` before each override of such a key; not before `filter` if the primary configuration has no filter."""
    filtered = re.search(r"^filter:", primary.read_text(encoding="utf-8"), re.MULTILINE)
    return [f"++{one}" if _ANY_KEY.match(one) or (filtered and _FILTER.match(one)) else one for one in overrides]
