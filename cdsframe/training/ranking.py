"""Losses that teach a retriever to rank the passage that answers first, and batches of pairs for them.

`Contrastive` is the multiple negatives ranking loss (Henderson et al., arXiv 1705.00652) over in-batch and hard
negatives; `Listwise` is a softmax over one question's passages (Gao et al., arXiv 2101.08751). Does not mine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from cdsframe.optimization import Optimization
from cdsframe.training.batches import Batches, LengthGroupedBatches
from cdsframe.training.module import TrainingModule
from cdsframe.training.pairs import Pair

Collate = Callable[[Sequence[Pair], int, int], list[dict[str, Any]]]
"""Makes a process's micro-batches of one effective batch, from its pairs, the rank and the number of processes."""

Tokenize = Callable[[Sequence[str]], dict[str, torch.Tensor]]


class PairBatches(Batches):
    """Effective batches of pairs.

    Args:
        collate: makes the micro-batches of one effective batch.
        rank, world_size: rank of this process, number of processes; each process gets its share of every batch.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        batch_size: int,
        collate: Collate,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._pairs, self._collate, self._rank, self._world_size = pairs, collate, rank, world_size
        self._groups = LengthGroupedBatches([1] * len(pairs), batch_size, seed, shuffle)

    def _collated(self, chosen: list[int]) -> dict[str, Any]:
        """Returns `micro`, `labelled` (questions of the whole batch), `tokens`, `padding` (fraction) and `ids`.

        `micro` is this process's. `tokens` is its number of tokens times the number of processes.
        """
        pairs = [self._pairs[n] for n in chosen]
        micro = self._collate(pairs, self._rank, self._world_size)
        masks = [inputs["attention_mask"] for one in micro for inputs in one["inputs"]]
        tokens = sum(int(mask.sum()) for mask in masks)
        return {
            "micro": micro,
            "labelled": len(pairs),
            "tokens": tokens * self._world_size,
            "padding": 1 - tokens / max(1, sum(mask.numel() for mask in masks)),
            "ids": [pair.id for pair in pairs],
        }


# ------------------------------------------------------------------------------------------------ embedders


_NO_POSITIVE = -100
"""Target of a row whose loss does not count."""


def together(
    pairs: Sequence[Pair], queries: Tokenize, passages: Tokenize, rank: int = 0, world_size: int = 1
) -> list[dict[str, Any]]:
    """Returns one micro-batch of all pairs, whose questions and passages are divided among the processes.

    The candidates are the positives of all pairs, followed by their hard negatives.

    Returns:
        `inputs`: this process's questions, and its part of the candidates, of equal size in all processes.
        `positives`: for each of its questions, the number of its positive. `masked` `[questions, candidates]`: True for
        other candidates that also answer. `candidates`: their number.
    """
    candidates = [pair.positive for pair in pairs] + list(chain.from_iterable(pair.negatives for pair in pairs))
    own = list(range(rank, len(pairs), world_size))
    asked = [pairs[n] for n in own] or [pairs[0]]  # every process encodes at least one question
    masked = torch.tensor([[pair.answered_by(candidate) for candidate in candidates] for pair in asked])
    positives = torch.tensor(own or [_NO_POSITIVE])
    masked[range(len(own)), own] = False
    size = -(-len(candidates) // world_size)
    part = candidates[rank * size : (rank + 1) * size]
    part += [candidates[0]] * (size - len(part))
    inputs = [queries([pair.question for pair in asked]), passages([c.search_text for c in part])]
    return [{"inputs": inputs, "masked": masked, "positives": positives, "candidates": len(candidates)}]


class Contrastive(TrainingModule):
    """A question's positive must be nearer to it than all passages of the batch that do not answer it.

    Args:
        model: gives `sentence_embedding` of unit length for tokenised texts.
        scale: factor of the cosines before the softmax.
        optimization, total_steps, export: see `TrainingModule`.
    """

    def __init__(
        self,
        model: Any,
        scale: float,
        optimization: Optimization,
        total_steps: int,
        export: Callable[[Path], None],
    ) -> None:
        super().__init__(model, optimization, total_steps, export)
        self._scale = scale

    def loss_sum(self, micro: dict[str, Any]) -> torch.Tensor:
        queries, passages = (self.model(self.to_device(inputs))["sentence_embedding"] for inputs in micro["inputs"])
        passages = _of_all_processes(passages)[: micro["candidates"]]
        scores = self._scale * (queries @ passages.T).float()
        scores = scores.masked_fill(micro["masked"].to(self.device), -torch.inf)
        targets = micro["positives"].to(self.device)
        return functional.cross_entropy(scores, targets, ignore_index=_NO_POSITIVE, reduction="sum")


def _of_all_processes(vectors: torch.Tensor) -> torch.Tensor:
    """Concatenates the vectors of all processes by rank; gradients flow back to the process that made a vector."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return vectors
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(vectors))


# ------------------------------------------------------------------------------------------------ rerankers


def side_by_side(
    pairs: Sequence[Pair], tokenize: Callable[[Sequence[tuple[str, str]]], dict[str, torch.Tensor]], at_once: int
) -> list[dict[str, Any]]:
    """Returns micro-batches of `at_once` questions, each with its positive, then its hard negatives.

    `sizes` holds the number of passages of each question.
    """
    micro = []
    for start in range(0, len(pairs), at_once):
        some = pairs[start : start + at_once]
        texts = [(pair.question, p.search_text) for pair in some for p in (pair.positive, *pair.negatives)]
        micro.append({"inputs": [tokenize(texts)], "sizes": [1 + len(pair.negatives) for pair in some]})
    return micro


class Listwise(TrainingModule):
    """The positive must have the highest score of a question's passages. The model is a classifier with one output."""

    def loss_sum(self, micro: dict[str, Any]) -> torch.Tensor:
        (inputs,) = micro["inputs"]
        scores = self.model(**self.to_device(inputs)).logits
        lists = pad_sequence(scores[:, 0].float().split(micro["sizes"]), batch_first=True, padding_value=-torch.inf)
        first = torch.zeros(len(lists), dtype=torch.long, device=lists.device)
        return functional.cross_entropy(lists, first, reduction="sum")
