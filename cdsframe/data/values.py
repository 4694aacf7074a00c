"""Checks the values of a row: texts, ids, evidence. Error messages name the kind of a wrong value, never the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdsframe.artifacts.files import parse_object
from cdsframe.errors import InputError

_KINDS = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object", bytes: "bytes"}


def text(value: Any, column: str, where: str) -> str:
    """Returns a text without white space at its ends; "" for None. Raises InputError for any other value."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{where}: column {column} must hold text, and holds {_kind(value)}")
    return value.strip()


def identifier(value: Any, column: str, where: str) -> str:
    """Returns a text or an integer as text; "" for None. Raises InputError for any other value."""
    return str(value) if type(value) is int else text(value, column, where)


def evidence_items(value: Any, where: str) -> list[Mapping[str, Any]]:
    """Returns the objects of a list, or of a JSON text with a list, without their null fields; [] for None.

    Raises InputError for any other value.
    """
    if isinstance(value, str):
        try:
            value = parse_object(f'{{"items": {value.strip() or "[]"}}}')["items"]
        except ValueError as error:
            raise InputError(f"{where}: evidence is {error}") from None
    items = [] if value is None else value
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"{where}: evidence must be a list of objects")
    return [{key: inner for key, inner in item.items() if inner is not None} for item in items]


def _kind(value: Any) -> str:
    return next((words for kind, words in _KINDS.items() if isinstance(value, kind)), "a value of another type")
