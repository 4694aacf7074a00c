"""Assigns documents to splits by a digest of their ids, for sources without splits; equally on every machine."""

from __future__ import annotations

from hashlib import sha1

SPLITS = ("train", "validation", "test")

USUAL_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation",
               "dev": "validation", "test": "test"}  # fmt: skip
"""Name of a split in other people's data sets -> its name here."""


def split_of(document_id: str, validation_share: float, test_share: float) -> str:
    """Returns the split of all questions about a document. Shares are of the documents; the rest is `train`."""
    place = int(sha1(document_id.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) / 2**32  # noqa: S324 (no secret)
    if place < 1 - validation_share - test_share:
        return "train"
    return "validation" if place < 1 - test_share else "test"
