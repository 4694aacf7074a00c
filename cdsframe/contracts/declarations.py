"""Declarations of a component that configuration rules read without building it.

Classes declare facts by class attributes (`needs_vectors = True`) and problems of values by a static method `problems`;
functions declare by the decorators below. A fact that depends on values is a static method, too: its arguments are the
keys of the option that it reads. Declarations must not import heavy libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def checked_by(problems: Callable[..., list[str]]) -> Callable[[F], F]:
    """Makes the configuration check call `problems` with the function's options that `problems` also takes.

    Args:
        problems: returns one sentence per invalid value or combination of values; an empty list if all are valid.
    """
    return declares(problems=problems)


def declares(**facts: Any) -> Callable[[F], F]:
    """Sets facts that configuration rules read, such as `trains="embedder"`, as attributes of the function."""

    def mark(function: F) -> F:
        for name, value in facts.items():
            setattr(function, name, value)
        return function

    return mark
