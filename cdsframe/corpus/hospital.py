"""The synthetic hospital that ships with cdsframe, as a corpus. Does not hold questions (see `cdsframe.data`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cdsframe.corpus.folder import Folder


def hospital(name: Annotated[str, Field(min_length=1, max_length=200)]) -> Folder:
    """The documents of a fictitious hospital; a file that cannot be read would be a defect of ours."""
    return Folder("package:hospital/documents", strict=True, max_megabytes=1, max_seconds=60, workers=0, name=name)
