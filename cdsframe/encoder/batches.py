"""Divides inputs into batches of similar length by a token budget. Does not tokenise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class ReadyInputs(NamedTuple):
    """Inputs that are ready for a back end.

    Args:
        lengths: tokens of each input after truncation, special tokens included.
        run: takes the indices of a batch's inputs; returns one float32 row per input.
    """

    lengths: Sequence[int]
    run: Callable[[Sequence[int]], np.ndarray]


def batches(lengths: Sequence[int], batch_tokens: int, batch_size: int | None) -> Iterator[list[int]]:
    """Yields the indices of each batch's inputs, the longest inputs first.

    A batch has at most `batch_size` inputs and at most `batch_tokens` tokens, padding included; an input that is longer
    than `batch_tokens` is a batch alone.
    """
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        full = batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens
        if full or len(batch) == batch_size:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
