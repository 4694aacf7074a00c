"""Effective batches of examples of similar length, each cut into padded micro-batches.

Length grouping saves padding; the whole effective batch carries the number of its labelled tokens, by which the loss
is divided, so that accumulating 8 x 1 gives the gradient of 1 x 8.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from cdsframe.encoding import IGNORED
from cdsframe.training.examples import Example

_POOL = 8
"""Effective batches that are sorted by length together: large pools save padding, small ones shuffle better."""


class LengthGroupedBatches:
    """Yields index lists, one an effective batch; another order every epoch, the same for the same seed."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, shuffle: bool) -> None:
        self._lengths, self._batch_size, self._seed, self._shuffle = lengths, batch_size, seed, shuffle
        self._epoch = 0

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(len(self._lengths)))
        if not self._shuffle:
            order.sort(key=lambda n: (-self._lengths[n], n))
            yield from self._cut(order)
            return
        chooser = random.Random(f"{self._seed}|{self._epoch}")
        self._epoch += 1
        chooser.shuffle(order)
        batches = []
        pool = _POOL * self._batch_size
        for start in range(0, len(order), pool):
            batches += self._cut(sorted(order[start : start + pool], key=lambda n: -self._lengths[n]))
        chooser.shuffle(batches)
        yield from batches

    def _cut(self, order: list[int]) -> list[list[int]]:
        return [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]


def collate(examples: Sequence[Example], micro_batch_size: int, padding_id: int) -> dict[str, Any]:
    """One effective batch.

    Returns:
        `micro`: dicts of `input_ids`, `attention_mask`, `labels`, each int64 `[micro_batch, length]`, padded on the
        right; `labelled` and `tokens`: their numbers over the whole batch, padding not counted; `ids`.
    """
    ordered = sorted(examples, key=len, reverse=True)
    micro = [_pad(ordered[n : n + micro_batch_size], padding_id) for n in range(0, len(ordered), micro_batch_size)]
    return {
        "micro": micro,
        "labelled": sum(example.encoded.labelled for example in examples),
        "tokens": sum(len(example) for example in examples),
        "ids": [example.id for example in examples],
    }


def _pad(examples: Sequence[Example], padding_id: int) -> dict[str, torch.Tensor]:
    longest = max(len(example) for example in examples)
    input_ids = torch.full((len(examples), longest), padding_id, dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED, dtype=torch.long)
    attention_mask = torch.zeros((len(examples), longest), dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example)
        input_ids[row, :length] = torch.tensor(example.encoded.input_ids)
        labels[row, :length] = torch.tensor(example.encoded.labels)
        attention_mask[row, :length] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
