"""Reorders hits by a cross-encoder, which reads question and passage together (Nogueira and Cho, arXiv 1901.04085).

Accepts any sequence classifier with one output, or two (no, yes), loaded by transformers. Does not search.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from statistics import fmean, pstdev
from time import perf_counter
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.packaged import model_path
from cdsframe.errors import ConfigError, InputError
from cdsframe.text.search_form import search_form
from cdsframe.types import Hit, LegScore

log = logging.getLogger(__name__)

NAME = "cross_encoder"
"""Key of the model's scores in `Hit.parts`."""


class CrossEncoder:
    """Sorts the first `depth` hits by the model's score; the others follow in their order.

    Either all of the first `depth` hits are scored or none: if `time_limit` expires, the retriever's order stays. So a
    list is always sorted by one measure, and its quality is one of the two that were evaluated.

    Args:
        name: a hub id, a folder, or `package:NAME`.
        depth: number of hits that are scored.
        weight: weight of the model's score; the retriever's score gets `1 - weight`. Both are standardised over the
            scored hits (interpolation as in Wang, Zhuang and Zuccon, ICTIR 2021). 1: the model's score alone.
        max_tokens: tokens of question and passage together; the longer of the two is truncated.
        batch_size: pairs scored at once, grouped by length.
        time_limit: seconds per question, checked between batches; null: no limit.
        device: a torch device, or `auto`: CUDA if available.
    """

    def __init__(
        self,
        name: str,
        depth: Annotated[int, Field(ge=1)],
        weight: Annotated[float, Field(gt=0, le=1)],
        max_tokens: Annotated[int, Field(ge=16)],
        batch_size: Annotated[int, Field(ge=1)],
        time_limit: Annotated[float, Field(gt=0)] | None,
        device: str,
    ) -> None:
        self.depth, self._weight, self._name, self._max_tokens = depth, weight, name, max_tokens
        self._batch_size, self._time_limit, self._device = batch_size, time_limit, device

    @staticmethod
    def hits_read(depth: int) -> int:
        """Number of hits that are scored, for the configuration check."""
        return depth

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]:
        """Reranked hits. `score` is the weighted score; `parts` has the model's score. Hits after `depth` get the
        lowest score of the scored hits."""
        read, others = hits[: self.depth], hits[self.depth :]
        scores = self._score(search_form(query), [search_form(hit.passage.search_text) for hit in read])
        if not scores:
            return hits
        weighed = self._weighed(scores, [hit.score for hit in read])
        by_model = {number: rank for rank, number in enumerate(_best_first(scores), start=1)}
        first = [
            replace(
                read[number],
                score=weighed[number],
                rank=rank,
                parts={**read[number].parts, NAME: LegScore(by_model[number], scores[number])},
            )
            for rank, number in enumerate(_best_first(weighed), start=1)
        ]
        return first + [replace(hit, score=first[-1].score) for hit in others]

    def _weighed(self, scores: Sequence[float], retrieved: Sequence[float]) -> list[float]:
        if self._weight == 1:
            return list(scores)
        pairs = zip(_standardised(scores), _standardised(retrieved), strict=True)
        return [self._weight * score + (1 - self._weight) * before for score, before in pairs]

    def _score(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, higher is better; empty if the time limit expires before the last batch."""
        import torch

        if not texts:
            return []
        model, tokenizer = self._model, self._tokenizer  # load before the clock starts
        started = perf_counter()
        pairs = tokenizer([query] * len(texts), list(texts), truncation="longest_first", max_length=self._max_tokens)
        lengths = [len(ids) for ids in pairs["input_ids"]]
        order = sorted(range(len(texts)), key=lambda number: -lengths[number])
        scores: dict[int, float] = {}
        for start in range(0, len(order), self._batch_size):
            if self._time_limit is not None and perf_counter() - started > self._time_limit:
                log.warning(
                    "reranking took longer than reranker.time_limit=%s s after %d of %d passages: keeping the "
                    "retriever's order; lower reranker.depth", self._time_limit, start, len(texts),
                )  # fmt: skip
                return []
            batch = order[start : start + self._batch_size]
            inputs = tokenizer.pad({key: [pairs[key][n] for n in batch] for key in pairs}, return_tensors="pt")
            with torch.inference_mode():
                logits = model(**inputs.to(model.device)).logits.float()
            values = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            # Rounded: the last digits depend on the other texts of the batch, and equal texts must tie.
            scores.update((n, round(value, 4)) for n, value in zip(batch, values.tolist(), strict=True))
        if not all(map(math.isfinite, scores.values())):
            raise InputError(
                f"reranker.name={self._name} returns scores that are not finite; the checkpoint is broken: use "
                "another or train it again"
            )
        return [scores[number] for number in range(len(texts))]

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(model_path(self._name))

    @cached_property
    def _model(self) -> Any:
        """The classifier in evaluation mode on its device. Raises ConfigError if the checkpoint is unusable."""
        import torch
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        path = model_path(self._name)
        model, found = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=torch.float32, output_loading_info=True
        )
        if found["missing_keys"]:
            raise ConfigError(
                f"reranker.name={self._name} is not a trained classifier: its head has no weights; use a checkpoint "
                "of a cross-encoder"
            )
        if model.config.num_labels > 2:
            raise ConfigError(
                f"reranker.name={self._name} has {model.config.num_labels} outputs, expected 1 or 2; use a "
                "cross-encoder for ranking"
            )
        reads = getattr(model.config, "max_position_embeddings", self._max_tokens)
        if reads < self._max_tokens:
            raise ConfigError(
                f"reranker.max_tokens={self._max_tokens} exceeds the {reads} positions of {self._name}; lower it"
            )
        device = self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return model.eval().to(device)


def _best_first(scores: Sequence[float]) -> list[int]:
    """Indices of the scores, best first; ties keep the retriever's order."""
    return sorted(range(len(scores)), key=lambda number: -scores[number])


def _standardised(scores: Sequence[float]) -> list[float]:
    """Scaled to mean 0 and standard deviation 1; all 0 if all scores are equal."""
    mean, deviation = fmean(scores), pstdev(scores)
    return [(score - mean) / deviation if deviation else 0.0 for score in scores]
