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

Collate = Callable[[Sequence[Pair]], list[dict[str, Any]]]
Tokenize = Callable[[Sequence[str]], dict[str, torch.Tensor]]


class PairBatches(Batches):
    """Effective batches of pairs.

    Args:
        collate: makes the micro-batches of the pairs of one effective batch.
    """

    def __init__(self, pairs: Sequence[Pair], batch_size: int, collate: Collate, seed: int, shuffle: bool) -> None:
        self._pairs, self._collate = pairs, collate
        self._groups = LengthGroupedBatches([1] * len(pairs), batch_size, seed, shuffle)

    def _collated(self, chosen: list[int]) -> dict[str, Any]:
        """`micro`, and over the whole batch `labelled` (its questions), `tokens`, `padding` (its share) and `ids`."""
        pairs = [self._pairs[n] for n in chosen]
        micro = self._collate(pairs)
        masks = [inputs["attention_mask"] for one in micro for inputs in one["inputs"]]
        tokens = sum(int(mask.sum()) for mask in masks)
        return {
            "micro": micro,
            "labelled": len(pairs),
            "tokens": tokens,
            "padding": 1 - tokens / sum(mask.numel() for mask in masks),
            "ids": [pair.id for pair in pairs],
        }


# ------------------------------------------------------------------------------------------------ embedders


def together(pairs: Sequence[Pair], queries: Tokenize, passages: Tokenize) -> list[dict[str, Any]]:
    """One micro-batch of all pairs: `inputs` of the questions, and of the positives followed by the hard negatives.

    `masked` `[questions, passages]` is true where a passage that is not the question's own positive answers it, too.
    """
    candidates = [pair.positive for pair in pairs] + list(chain.from_iterable(pair.negatives for pair in pairs))
    masked = torch.tensor([[pair.answered_by(candidate) for candidate in candidates] for pair in pairs])
    masked.fill_diagonal_(False)
    inputs = [queries([pair.question for pair in pairs]), passages([c.search_text for c in candidates])]
    return [{"inputs": inputs, "masked": masked}]


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
        scores = self._scale * (queries @ passages.T).float()
        scores = scores.masked_fill(micro["masked"].to(self.device), -torch.inf)
        return functional.cross_entropy(scores, torch.arange(len(scores), device=self.device), reduction="sum")


# ------------------------------------------------------------------------------------------------ rerankers


def side_by_side(
    pairs: Sequence[Pair], tokenize: Callable[[Sequence[tuple[str, str]]], dict[str, torch.Tensor]], at_once: int
) -> list[dict[str, Any]]:
    """Micro-batches of `at_once` questions, each with its positive first, then its hard negatives: `sizes` of them."""
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
