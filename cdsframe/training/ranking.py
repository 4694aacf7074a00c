"""The losses that teach a retriever to tell the passage that answers from others, and batches of pairs for them.

`Contrastive` is the multiple negatives ranking loss (Henderson et al., arXiv 1705.00652) over in-batch and hard
negatives; `Listwise` is a softmax over one question's passages (Gao et al., arXiv 2101.08751). Does not mine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from cdsframe.training.batches import Batches, LengthGroupedBatches
from cdsframe.training.module import SupervisedFineTuning
from cdsframe.training.pairs import Pair

Collate = Callable[[Sequence[Pair]], list[dict[str, Any]]]
Tokenize = Callable[[Sequence[str]], dict[str, torch.Tensor]]


class PairBatches(Batches):
    """Effective batches of pairs, from any step of training on.

    Args:
        collate: makes of the pairs of one effective batch its micro-batches.
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


class Contrastive(SupervisedFineTuning):
    """Of all passages of the batch that do not answer a question, its positive shall be the nearest to it.

    Args:
        model: gives `sentence_embedding` of unit length for tokenised texts.
        scale: what cosines are multiplied by before the softmax.
    """

    def __init__(self, model: Any, scale: float, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._scale = scale

    def _loss_sum(self, micro: dict[str, Any]) -> torch.Tensor:
        device = self._devices.device
        with self._devices.autocast():
            queries, passages = (
                self.model({name: tensor.to(device) for name, tensor in inputs.items()})["sentence_embedding"]
                for inputs in micro["inputs"]
            )
            scores = self._scale * (queries @ passages.T).float()
        scores = scores.masked_fill(micro["masked"].to(device), -torch.inf)
        return functional.cross_entropy(scores, torch.arange(len(scores), device=device), reduction="sum")


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


class Listwise(SupervisedFineTuning):
    """Of one question's passages the positive shall have the highest score. The model is a classifier of one output."""

    def _loss_sum(self, micro: dict[str, Any]) -> torch.Tensor:
        (inputs,) = micro["inputs"]
        with self._devices.autocast():
            scores = self.model(**{name: tensor.to(self._devices.device) for name, tensor in inputs.items()}).logits
        lists = pad_sequence(scores[:, 0].float().split(micro["sizes"]), batch_first=True, padding_value=-torch.inf)
        first = torch.zeros(len(lists), dtype=torch.long, device=lists.device)
        return functional.cross_entropy(lists, first, reduction="sum")
