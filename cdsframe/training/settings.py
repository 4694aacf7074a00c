"""Types, with ranges, of options that several trainings share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
MaxLength = Annotated[int, Field(ge=64)]
"""Maximum tokens of prompt and answer."""
Checkpointing = Literal["auto", "always", "never"]
"""When activations are recomputed in the backward pass; `auto`: only if training would not fit into memory."""
