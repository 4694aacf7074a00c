"""Short names for Office Open XML elements, identical for the transitional and the strict variant. Reads no file."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_TRANSITIONAL, _STRICT = "http://schemas.openxmlformats.org/", "http://purl.oclc.org/ooxml/"
_MICROSOFT = "http://schemas.microsoft.com/office/word/"
_PREFIXES = {
    f"{_TRANSITIONAL}wordprocessingml/2006/main": "w",
    f"{_STRICT}wordprocessingml/main": "w",
    f"{_TRANSITIONAL}officeDocument/2006/math": "m",
    f"{_STRICT}officeDocument/math": "m",
    f"{_TRANSITIONAL}drawingml/2006/main": "a",
    f"{_STRICT}drawingml/main": "a",
    f"{_TRANSITIONAL}drawingml/2006/chart": "c",
    f"{_STRICT}drawingml/chart": "c",
    f"{_TRANSITIONAL}drawingml/2006/diagram": "dgm",
    f"{_STRICT}drawingml/diagram": "dgm",
    f"{_TRANSITIONAL}drawingml/2006/picture": "pic",
    f"{_STRICT}drawingml/picture": "pic",
    f"{_TRANSITIONAL}markup-compatibility/2006": "mc",
    "urn:schemas-microsoft-com:vml": "v",
    f"{_MICROSOFT}2010/wordprocessingShape": "wps",
    f"{_MICROSOFT}2010/wordml": "w14",
}


@lru_cache(maxsize=4096)
def _short(tag: str) -> str:
    space, _, local = tag.rpartition("}")
    return f"{_PREFIXES.get(space[1:], '?')}:{local}"


def name(element: Any) -> str:
    """Short name: `w:p` for a paragraph with any prefix; `?:p` in an unknown namespace; "" for a comment."""
    return _short(element.tag) if isinstance(element.tag, str) else ""


def attribute(element: Any, local: str) -> str | None:
    """The attribute with this local name in any namespace; None if it is missing."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == local:
            return str(value)
    return None


def child(element: Any, *path: str) -> Any:
    """The first descendant along a path of child names; None if it is missing."""
    for step in path:
        for item in element if element is not None else ():
            if isinstance(item.tag, str) and _short(item.tag) == step:
                element = item
                break
        else:
            return None
    return element


def value(element: Any, *path: str) -> str | None:
    """The attribute `val` of the element at the path; None if either is missing."""
    found = child(element, *path)
    return None if found is None else attribute(found, "val")


def flag(element: Any, *path: str) -> bool | None:
    """An on/off property at the path; None if it is not set."""
    found = child(element, *path)
    if found is None:
        return None
    return attribute(found, "val") not in ("0", "false", "off")


def number(element: Any, *path: str) -> int | None:
    """The attribute `val` of the element at the path as an integer; None if it is missing or not a number."""
    try:
        return int(value(element, *path) or "")
    except ValueError:
        return None


def texts(element: Any) -> int:
    """The number of descendant elements that contain visible text."""
    return sum(1 for item in element.iter() if name(item) in TEXTS and (item.text or "").strip())


TEXTS = frozenset(("w:t", "m:t", "a:t"))
"""Elements whose content is visible text."""
