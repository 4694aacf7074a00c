"""Computes the vectors of records while the next records are read. Does not write them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from cdsframe.contracts import Embedder
from cdsframe.types import Passage

if TYPE_CHECKING:
    import numpy as np

_T = TypeVar("_T")
_R = TypeVar("_R")

_SLICE = 256
"""Texts encoded between two checks of the stop event."""


class EmbeddingStopped(Exception):
    """The caller stopped waiting for the vectors."""


def vectors_of(
    records: Sequence[Passage], embedder: Embedder, stop: threading.Event | None = None
) -> np.ndarray | None:
    """Vectors `[n, dimension]`: passages and titles are embedded, sections and documents get means of their passages.

    The means are normalised; they replace embeddings of texts longer than the embedder reads. Texts of similar length
    are encoded together. None if the embedder makes no vectors.
    """
    import numpy as np

    if embedder.dimension is None:
        return None
    read = [number for number, record in enumerate(records) if record.level in ("passage", "title")]
    texts = {number: records[number].search_text for number in read}
    read.sort(key=lambda number: -len(texts[number]))
    vectors = np.zeros((len(records), embedder.dimension), dtype=np.float32)
    for first in range(0, len(read), _SLICE):
        if stop is not None and stop.is_set():
            raise EmbeddingStopped
        slice_ = read[first : first + _SLICE]
        vectors[slice_] = embedder.encode_passages([texts[number] for number in slice_])
    members: dict[tuple[str, str, str], list[int]] = {}
    for number, record in enumerate(records):
        if record.level == "passage":
            members.setdefault(("section", record.document_id, record.section_id), []).append(number)
            members.setdefault(("document", record.document_id, record.document_id), []).append(number)
    for number, record in enumerate(records):
        if record.level in ("section", "document"):
            mean = vectors[members[record.level, record.document_id, record.section_id]].mean(axis=0)
            vectors[number] = mean / max(float(np.linalg.norm(mean)), 1e-12)  # opposite vectors may cancel out
    return vectors


def ahead(items: Iterable[_T], work: Callable[[_T, threading.Event], _R]) -> Iterator[tuple[_T, _R]]:
    """Yields `(item, work(item, stop))` in order; a thread works on one item while the next is read from `items`.

    Holds at most two items besides the yielded one. Sets `stop` if the iteration ends early.
    """
    stop, waiting = threading.Event(), deque[tuple[_T, "Future[_R]"]]()
    with ThreadPoolExecutor(1, "embedding") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item, stop)))
                if len(waiting) > 1:
                    done, future = waiting.popleft()
                    yield done, future.result()
            for done, future in waiting:
                yield done, future.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
