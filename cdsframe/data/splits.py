"""Which split a document belongs to, where its source does not say: by a digest of its id, the same on any machine."""

from __future__ import annotations

from hashlib import sha1

SPLITS = ("train", "validation", "test")


def split_of(document_id: str, validation_share: float, test_share: float) -> str:
    """The split of everything that is about one document. Shares are of the documents; the rest is for training."""
    place = int(sha1(document_id.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) / 2**32  # noqa: S324 (no secret)
    if place < 1 - validation_share - test_share:
        return "train"
    return "validation" if place < 1 - test_share else "test"
