"""The synthetic hospital that ships with cdsframe, as a corpus. Does not hold questions (see `cdsframe.data`)."""

from __future__ import annotations

from cdsframe.corpus.folder import Folder


def hospital() -> Folder:
    """The documents of a fictitious hospital; a file that cannot be read would be a defect of ours."""
    return Folder("package:hospital/documents", strict=True, max_megabytes=1, max_seconds=60, workers=0)
