"""Reads the synthetic hospital that ships with cdsframe as a corpus. Has no questions (see `cdsframe.data`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cdsframe.corpus.folder import Folder


def hospital(name: Annotated[str, Field(min_length=1, max_length=200)]) -> Folder:
    """Returns a fictitious hospital's documents. An unreadable file, a defect of cdsframe, raises InputError."""
    return Folder(
        "package:hospital/documents",
        strict=True,
        max_megabytes=1,
        max_seconds=60,
        workers=0,
        name=name,
        metadata_fields=(),
    )
