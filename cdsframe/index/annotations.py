"""Changes an index's annotations: small values that are stored with it, outside its commits."""

from __future__ import annotations

from collections.abc import Mapping

from cdsframe.types import JsonObject


def with_annotation(annotations: Mapping[str, JsonObject], key: str, value: JsonObject | None) -> dict[str, JsonObject]:
    """Returns the annotations with a value added or replaced; None removes the key."""
    others = {other: kept for other, kept in annotations.items() if other != key}
    return others if value is None else {**others, key: value}
