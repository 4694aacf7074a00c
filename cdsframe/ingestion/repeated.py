"""Records of an index that have the same level and id, found with eight bytes for each record. Mends nothing."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

from cdsframe.errors import named
from cdsframe.types import Level, Passage


class Repeated:
    """Of records that are shown one after the other, which keys may have come twice."""

    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, record: Passage) -> None:
        self._hashes.append(_hash(record))

    def among(self, records: Iterable[Passage]) -> list[str]:
        """In words, for each key that several of the records have, whose they are; `records` is left alone if none."""
        import numpy as np

        hashes, counts = np.unique(np.frombuffer(self._hashes, dtype=np.uint64), return_counts=True)
        twice = set(hashes[counts > 1].tolist())
        if not twice:
            return []
        owners: dict[tuple[Level, str], list[str]] = {}
        for record in records:
            if _hash(record) in twice:
                owners.setdefault(record.key, []).append(record.document_id)
        return [
            f"the id {named(id_)} is that of {len(documents)} records of the level {level}, of the documents "
            + ", ".join(map(named, sorted(set(documents))[:5]))
            for (level, id_), documents in sorted(owners.items())
            if len(documents) > 1
        ]


def _hash(record: Passage) -> int:
    key = f"{record.level}/{record.id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
