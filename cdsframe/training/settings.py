"""What the options of several trainings have in common: the ranges of their numbers, and what a data set gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Protocol

from pydantic import Field

from cdsframe.types import Question

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
MaxLength = Annotated[int, Field(ge=64)]
"""Tokens of prompt and answer."""
Checkpointing = Literal["auto", "always", "never"]
"""Whether activations are computed again in the backward pass; `auto`: only where they would not fit."""


class Data(Protocol):
    """Questions with answers, by split (`train`, `validation`)."""

    scope: str
    removed: Mapping[str, Mapping[str, int]]
    """Split -> rule -> how many it left out."""

    def questions(self, split: str) -> list[Question]: ...
