"""The vectors of records, and making them while the next ones are read. Does not know where they go."""

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
"""Texts that are encoded between two looks at whether to stop."""


class Stopped(Exception):
    """Nobody waits for the vectors any more."""


def vectors_of(
    records: Sequence[Passage], embedder: Embedder, stop: threading.Event | None = None
) -> np.ndarray | None:
    """Vectors `[n, dimension]`: of passages and titles by the embedder, of sections and documents from their passages.

    The vector of a text that is longer than an embedder reads is the mean of its passages' vectors, normalised. Texts
    of like length are encoded together. None where the embedder makes no vectors.
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
            raise Stopped
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
    """`(item, work(item, stop))` in order: a thread works on one item while the next is taken from `items`.

    Two items are held at most, and the one that was yielded. `stop` is set when the iteration ends early.
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
