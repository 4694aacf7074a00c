"""What a component declares about itself, which rules between groups read without building it.

A class declares by class attributes (`needs_vectors = True`) and a static method `problems`. A function declares by the
decorators here. Declarations must need no heavy import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def checked_by(problems: Callable[..., list[str]]) -> Callable[[F], F]:
    """Makes the check of the configuration call `problems`, with those options of the function that it names.

    Args:
        problems: returns one sentence for each problem of the values; an empty list where they are right.
    """
    return declares(problems=problems)


def declares(**facts: Any) -> Callable[[F], F]:
    """Sets facts that rules read (`trains="embedder"`) as attributes of a function."""

    def mark(function: F) -> F:
        for name, value in facts.items():
            setattr(function, name, value)
        return function

    return mark
