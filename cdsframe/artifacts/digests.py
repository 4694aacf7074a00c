"""Short digests that identify files, records and settings. They are not meant to be cryptographically secure.

Does not decide what a digest covers: its caller does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256


def digest(*parts: str) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of the parts, each prefixed by its length."""
    return digest_of(parts)


def digest_of(parts: Iterable[str]) -> str:
    """Returns the same digest as `digest`, for parts that an iterable yields."""
    hasher = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()[:16]


def flatten(mapping: Mapping[str, str]) -> list[str]:
    """Returns a mapping's keys and values in sorted order, as arguments of `digest`."""
    return [item for key in sorted(mapping) for item in (key, mapping[key])]
