"""Short digests: by them files, records and settings know one another again. They keep no secret.

Which parts make a thing what it is, its own module says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256


def digest(*parts: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the parts, unambiguous in where a part ends."""
    return digest_of(parts)


def digest_of(parts: Iterable[str]) -> str:
    """The same of parts that are made one after the other."""
    hasher = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()[:16]


def flatten(mapping: Mapping[str, str]) -> list[str]:
    """A mapping as a list of its keys and values in sorted order: what `digest` takes."""
    return [item for key in sorted(mapping) for item in (key, mapping[key])]
