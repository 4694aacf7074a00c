"""Compares identities: nested settings by which adapters, indexes, calibrations and runs are recognised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(made: Any, wanted: Any, missing: Any = None) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> the two values, for each setting that differs, in the order of the keys.

    Args:
        made: the settings of what exists.
        wanted: the settings of the configuration.
        missing: the value of a key that only the other side has.
    """
    if made == wanted:  # the usual case, which every search checks
        return {}
    one, other = flat(made), flat(wanted)
    return {
        key: (one.get(key, missing), other.get(key, missing))
        for key in sorted({*one, *other})
        if one.get(key, _ABSENT) != other.get(key, _ABSENT)
    }


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys. An empty mapping has no key."""
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{path}.{key}" if path else str(key))
    return found


_ABSENT = object()
