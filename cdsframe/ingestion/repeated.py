"""Finds records of an index that share level and id, using eight bytes per record. Does not fix them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

from cdsframe.errors import named
from cdsframe.types import Level, Passage


class Repeated:
    """Collects the keys of records and reports duplicates."""

    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, record: Passage) -> None:
        self._hashes.append(_hash(record))

    def among(self, records: Iterable[Passage]) -> list[str]:
        """One sentence per duplicate key, naming the documents; does not iterate `records` if there are no
        duplicates."""
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
            f"{len(documents)} records of level {level} share the id {named(id_)}, in the documents "
            + ", ".join(map(named, sorted(set(documents))[:5]))
            for (level, id_), documents in sorted(owners.items())
            if len(documents) > 1
        ]


def _hash(record: Passage) -> int:
    key = f"{record.level}/{record.id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
