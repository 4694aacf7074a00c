"""The ranges of the numbers that several trainings take as options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
MaxLength = Annotated[int, Field(ge=64)]
"""Tokens of prompt and answer."""
Checkpointing = Literal["auto", "always", "never"]
"""Whether activations are computed again in the backward pass; `auto`: only where they would not fit."""
