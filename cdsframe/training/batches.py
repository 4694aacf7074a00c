"""Makes effective batches of examples, each split into micro-batches that are packed or padded.

An effective batch carries its number of labelled tokens. The loss is divided by this number, so that eight
micro-batches of one example give the gradient of one micro-batch of eight. Only padded examples are grouped by length;
packed examples have no padding to save (see `cdsframe.training.attention`). Does not tokenise.
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
"""Number of padded effective batches whose examples are sorted by length together. Packed examples are not sorted:
this would save nothing, and batches of one length teach less (on a mix of short and long examples the validation loss
was .01 nats higher)."""


class LengthGroupedBatches:
    """Divides examples into effective batches of similar length, as lists of indices.

    Args:
        lengths: number of tokens of each example.
        shuffle: True: another order every epoch, determined by seed and epoch. False: the longest examples first.
        pool: number of effective batches whose examples are sorted by length together.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, shuffle: bool, pool: int = _POOL) -> None:
        self._lengths, self._batch_size, self._seed, self._shuffle = lengths, batch_size, seed, shuffle
        self._pool = pool * batch_size

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    def epoch(self, number: int) -> list[list[int]]:
        """Returns the batches of an epoch (numbered from 0), in order."""
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
    """How an effective batch is split into micro-batches, and whether these are packed or padded.

    Args:
        examples: maximum number of examples in a micro-batch.
        tokens: maximum number of tokens in a micro-batch, padding included; one example is always allowed. None: no
            limit.
        padding_id: token that fills up the shorter rows; None: the examples are packed into one row.
    """

    examples: int
    tokens: int | None
    padding_id: int | None

    def cut(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Splits examples into micro-batches, the longest examples first."""
        parts: list[list[Example]] = []
        for example in sorted(examples, key=len, reverse=True):
            full = not parts or len(parts[-1]) == self.examples
            if full or (self.tokens is not None and self.places([*parts[-1], example]) > self.tokens):
                parts.append([])
            parts[-1].append(example)
        return parts

    def places(self, examples: Sequence[Example]) -> int:
        """Returns the number of tokens in a micro-batch, padding included."""
        own = list(map(len, examples))
        return sum(own) if self.padding_id is None else len(own) * max(own)

    def lay(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Returns a micro-batch as tensors: the decoder's inputs, and `labels`."""
        return _pack(examples) if self.padding_id is None else _pad(examples, self.padding_id)


class Batches:
    """Collated effective batches of examples.

    Args:
        rank, world_size: rank of this process, number of processes; each process gets its share of every batch.
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
        """Number of batches per epoch."""
        return len(self._groups)

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """Yields the batches of an epoch (numbered from 0), starting at batch `first`."""
        return map(self._collated, self._groups.epoch(number)[first:])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields the batches of the first epoch."""
        return self.epoch(0)

    def _collated(self, chosen: list[int]) -> dict[str, Any]:
        return collate([self._examples[n] for n in chosen], self._layout, self._rank, self._world_size)


def collate(examples: Sequence[Example], layout: Layout, rank: int = 0, world_size: int = 1) -> dict[str, Any]:
    """Collates this process's share of one effective batch: every `world_size`-th example, by length.

    Returns:
        `micro`: the micro-batches of this share. `labelled`, `tokens`: numbers of labelled tokens and of tokens in the
        whole effective batch, without padding. `ids`: ids of all its examples. `padding`: fraction of padding in this
        share.
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
    """Returns a row: `input_ids`, `position_ids` (from 0 per example), `labels`, int64 `[1, tokens]`; and `lengths`."""
    own = list(map(len, examples))
    labels = [[IGNORED, *example.encoded.labels[1:]] for example in examples]  # nothing predicts the first token
    rows = {
        "input_ids": chain.from_iterable(example.encoded.input_ids for example in examples),
        "position_ids": chain.from_iterable(map(range, own)),
        "labels": chain.from_iterable(labels),
    }
    return {**{name: torch.tensor([list(row)]) for name, row in rows.items()}, "lengths": Lengths(own)}


def _pad(examples: Sequence[Example], padding_id: int) -> dict[str, Any]:
    """Returns `input_ids`, `attention_mask`, `labels`, each int64 `[examples, longest]`, padded on the right."""
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
