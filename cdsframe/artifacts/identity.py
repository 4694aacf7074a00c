"""Compares identities: nested settings by which adapters, indexes, calibrations and runs are recognised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(made: Any, wanted: Any, missing: Any = None) -> dict[str, tuple[Any, Any]]:
    """Returns dotted key -> (value in `made`, value in `wanted`) for each setting that differs, sorted by key.

    Args:
        made: the settings recorded with an existing artifact.
        wanted: the settings of the configuration.
        missing: stands for the value of a key that one of the two lacks.
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
    """Flattens nested mappings into one mapping with dotted keys. An empty mapping yields no key."""
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{path}.{key}" if path else str(key))
    return found


_ABSENT = object()
