"""Effective batches of examples, each cut into micro-batches that are packed or padded.

The whole effective batch carries the number of its labelled tokens, by which the loss is divided, so that accumulating
8 x 1 gives the gradient of 1 x 8. Only padded examples are grouped by length; packed ones have no padding to save (see
`cdsframe.training.attention`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from cdsframe.chat.encoding import IGNORED
from cdsframe.training.attention import Lengths
from cdsframe.training.examples import Example
from cdsframe.training.tokenized import lengths

_POOL = 8
"""Effective batches that are sorted by length together where they are padded. Packed ones save nothing by it, and
batches of one length teach less: on a mix of short and long examples the validation loss was .01 nats higher."""


class LengthGroupedBatches:
    """Index lists, one an effective batch; another order every epoch, the same for the same seed and epoch."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, shuffle: bool, pool: int = _POOL) -> None:
        self._lengths, self._batch_size, self._seed, self._shuffle = lengths, batch_size, seed, shuffle
        self._pool = pool * batch_size

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
        for start in range(0, len(order), self._pool):
            batches += self._cut(sorted(order[start : start + self._pool], key=lambda n: -self._lengths[n]))
        chooser.shuffle(batches)
        return batches

    def _cut(self, order: list[int]) -> list[list[int]]:
        return [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]


@dataclass(frozen=True, slots=True)
class Layout:
    """How an effective batch is cut into micro-batches, and how one lies in memory.

    Args:
        examples: of a micro-batch, at most.
        tokens: of a micro-batch at most, padding counted (one example always fits); None: no limit.
        padding_id: fills up the shorter rows; None: the examples lie one behind the other in one row.
    """

    examples: int
    tokens: int | None
    padding_id: int | None

    def cut(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Micro-batches, the longest examples first."""
        parts: list[list[Example]] = []
        for example in sorted(examples, key=len, reverse=True):
            full = not parts or len(parts[-1]) == self.examples
            if full or (self.tokens is not None and self.places([*parts[-1], example]) > self.tokens):
                parts.append([])
            parts[-1].append(example)
        return parts

    def places(self, examples: Sequence[Example]) -> int:
        """Tokens of a micro-batch, padding counted."""
        own = list(map(len, examples))
        return sum(own) if self.padding_id is None else len(own) * max(own)

    def lay(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The decoder's inputs, and `labels`."""
        return _pack(examples) if self.padding_id is None else _pad(examples, self.padding_id)


class Batches:
    """Collated effective batches of examples.

    Args:
        rank, world_size: of the processes that train; each gets its part of every batch.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batch_size: int,
        layout: Layout,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._examples, self._layout, self._rank, self._world_size = examples, layout, rank, world_size
        pool = 1 if layout.padding_id is None else _POOL
        self._groups = LengthGroupedBatches(lengths(examples), batch_size, seed, shuffle, pool)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._groups)

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of an epoch (from 0), from the batch `first` on."""
        return map(self._collated, self._groups.epoch(number)[first:])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The batches of the first epoch."""
        return self.epoch(0)

    def _collated(self, chosen: list[int]) -> dict[str, Any]:
        return collate([self._examples[n] for n in chosen], self._layout, self._rank, self._world_size)


def collate(examples: Sequence[Example], layout: Layout, rank: int = 0, world_size: int = 1) -> dict[str, Any]:
    """One effective batch, or of several processes this one's part of it (every n-th example by length).

    Returns:
        `micro`: what `layout.lay` gave; `labelled` and `tokens`: their numbers over the whole batch, padding not
        counted; `ids`; `padding`: its share of this part's places.
    """
    own = sorted(examples, key=len, reverse=True)[rank::world_size]
    parts = layout.cut(own)
    return {
        "micro": [layout.lay(part) for part in parts],
        "labelled": sum(example.encoded.labelled for example in examples),
        "tokens": sum(len(example) for example in examples),
        "ids": [example.id for example in examples],
        "padding": 1 - sum(map(len, own)) / max(1, sum(map(layout.places, parts))),
    }


def _pack(examples: Sequence[Example]) -> dict[str, Any]:
    """One row: `input_ids`, `position_ids` (from 0 in each example), `labels`, int64 `[1, tokens]`; and `lengths`."""
    own = list(map(len, examples))
    labels = [[IGNORED, *example.encoded.labels[1:]] for example in examples]  # nothing before it foretells the first
    rows = {
        "input_ids": chain.from_iterable(example.encoded.input_ids for example in examples),
        "position_ids": chain.from_iterable(map(range, own)),
        "labels": chain.from_iterable(labels),
    }
    return {**{name: torch.tensor([list(row)]) for name, row in rows.items()}, "lengths": Lengths(own)}


def _pad(examples: Sequence[Example], padding_id: int) -> dict[str, Any]:
    """`input_ids`, `attention_mask`, `labels`, each int64 `[examples, longest]`, padded on the right."""
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
