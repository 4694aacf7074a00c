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
    """Index lists, one an effective batch; another order every epoch, the same for the same seed and epoch."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, shuffle: bool) -> None:
        self._lengths, self._batch_size, self._seed, self._shuffle = lengths, batch_size, seed, shuffle

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of an epoch (from 0), in order."""
        order = list(range(len(self._lengths)))
        if not self._shuffle:
            return self._cut(sorted(order, key=lambda n: (-self._lengths[n], n)))
        chooser = random.Random(f"{self._seed}|{number}")
        chooser.shuffle(order)
        batches = []
        pool = _POOL * self._batch_size
        for start in range(0, len(order), pool):
            batches += self._cut(sorted(order[start : start + pool], key=lambda n: -self._lengths[n]))
        chooser.shuffle(batches)
        return batches

    def _cut(self, order: list[int]) -> list[list[int]]:
        return [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]


class Batches:
    """Collated effective batches of examples, from any step of training on.

    Args:
        rank, world_size: of the processes that train; each gets its part of every batch.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batch_size: int,
        micro_batch_size: int,
        padding_id: int,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
        micro_batch_tokens: int | None = None,
    ) -> None:
        self._examples, self._micro_batch_size, self._padding_id = examples, micro_batch_size, padding_id
        self._rank, self._world_size, self._micro_batch_tokens = rank, world_size, micro_batch_tokens
        self._groups = LengthGroupedBatches([len(example) for example in examples], batch_size, seed, shuffle)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._groups)

    def after(self, step: int) -> Iterator[dict[str, Any]]:
        """The batches that follow the first `step` ones, epoch after epoch without an end."""
        epoch, passed = divmod(step, len(self))
        while True:
            yield from map(self._collated, self._groups.epoch(epoch)[passed:])
            epoch, passed = epoch + 1, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One epoch."""
        return map(self._collated, self._groups.epoch(0))

    def _collated(self, chosen: list[int]) -> dict[str, Any]:
        examples = [self._examples[n] for n in chosen]
        part = (self._rank, self._world_size, self._micro_batch_tokens)
        return collate(examples, self._micro_batch_size, self._padding_id, *part)


def collate(
    examples: Sequence[Example],
    micro_batch_size: int,
    padding_id: int,
    rank: int = 0,
    world_size: int = 1,
    micro_batch_tokens: int | None = None,
) -> dict[str, Any]:
    """One effective batch, or of several processes this one's part of it (every n-th example by length).

    Returns:
        `micro`: dicts of `input_ids`, `attention_mask`, `labels`, each int64 `[micro_batch, length]`, padded on the
        right; `labelled` and `tokens`: their numbers over the whole batch, padding not counted; `ids`; `padding`: its
        share of this part's places.
    """
    ordered = sorted(examples, key=len, reverse=True)[rank::world_size]
    micro = [_pad(part, padding_id) for part in _cut(ordered, micro_batch_size, micro_batch_tokens)]
    places = sum(part["input_ids"].numel() for part in micro)
    return {
        "micro": micro,
        "labelled": sum(example.encoded.labelled for example in examples),
        "tokens": sum(len(example) for example in examples),
        "ids": [example.id for example in examples],
        "padding": 1 - sum(map(len, ordered)) / max(1, places),
    }


def _cut(ordered: Sequence[Example], most: int, tokens: int | None) -> list[list[Example]]:
    """Micro-batches of at most so many examples and padded tokens (one example at least), the longest first."""
    parts: list[list[Example]] = []
    for example in ordered:
        full = not parts or len(parts[-1]) == most
        if full or (tokens is not None and (len(parts[-1]) + 1) * len(parts[-1][0]) > tokens):
            parts.append([])
        parts[-1].append(example)
    return parts


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
