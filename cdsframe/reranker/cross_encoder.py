"""Reorders hits by a cross-encoder, which reads question and passage together (Nogueira and Cho, arXiv 1901.04085).

Accepts any cross-encoder of sentence-transformers with one output, or two (no, yes). Does not search.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from statistics import fmean, pstdev
from time import perf_counter
from typing import Annotated

from pydantic import Field

from cdsframe.encoder.batches import batches
from cdsframe.encoder.settings import Backend, EncoderSettings, backend_problems
from cdsframe.errors import InputError
from cdsframe.machine.compute_dtype import ComputeDtype
from cdsframe.reranker.exported import ExportedScorer
from cdsframe.reranker.library import LibraryScorer
from cdsframe.text.search_form import search_form
from cdsframe.types import Hit, LegScore

log = logging.getLogger(__name__)

NAME = "cross_encoder"
"""Key of the model's scores in `Hit.parts`."""


class CrossEncoder:
    """Sorts the first `depth` hits by the model's score; the other hits follow in the retriever's order.

    Either all of the first `depth` hits are scored or none: if `time_limit` expires, the retriever's order stays. So a
    list is always sorted by one score, and its quality is that of one of two rankings that can be evaluated.

    Args:
        name: a hub id, a folder, or `package:NAME`.
        depth: number of hits that are scored.
        weight: weight of the model's score; the retriever's score gets `1 - weight`. Both are standardised over the
            scored hits (interpolation as in Wang, Zhuang and Zuccon, ICTIR 2021). 1: the model's score alone.
        max_tokens: tokens of question and passage together; the longer of the two is truncated.
        compute_dtype: dtype of the transformer's matrix products; `auto`: bfloat16 if the hardware has units for it.
        backend: `torch` runs sentence-transformers. `openvino` and `onnx` run an exported graph without torch.
        batch_tokens: maximum tokens of a forward pass, padding included; pairs of similar length are scored together.
        batch_size: maximum pairs of a forward pass; None: only `batch_tokens` limits.
        time_limit: seconds per question, checked between batches; None: no limit.
        device: a torch device; `auto`: CUDA if available, else the CPU.
        cache: folder of the exported graphs.
    """

    def __init__(
        self,
        name: str,
        depth: Annotated[int, Field(ge=1)],
        weight: Annotated[float, Field(gt=0, le=1)],
        max_tokens: Annotated[int, Field(ge=16)],
        compute_dtype: ComputeDtype,
        backend: Backend,
        batch_tokens: Annotated[int, Field(ge=16)],
        batch_size: Annotated[int, Field(ge=1)] | None,
        time_limit: Annotated[float, Field(gt=0)] | None,
        device: str,
        cache: str,
    ) -> None:
        self.depth, self._weight, self._time_limit = depth, weight, time_limit
        limits = batch_tokens, batch_size
        self._settings = EncoderSettings("reranker", name, max_tokens, compute_dtype, backend, *limits, device, cache)

    @staticmethod
    def problems(backend: Backend, device: str, compute_dtype: ComputeDtype) -> list[str]:
        """Returns the problems of the options: a package, device or dtype that `backend` lacks."""
        return backend_problems("reranker", backend, device, compute_dtype)

    @staticmethod
    def hits_read(depth: int) -> int:
        """Returns the number of hits that are scored, for the configuration check."""
        return depth

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]:
        """Returns the hits, best first. `score` is the weighted score; `parts` has the model's score.

        Hits after `depth` get the lowest score of the scored hits.
        """
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
        """Returns one score per text, higher is better; [] if the time limit expires before the last batch."""
        if not texts:
            return []
        ready = self._backend.prepare(query, texts)  # loads before the clock starts
        started, settings = perf_counter(), self._settings
        scores: dict[int, float] = {}
        for batch in batches(ready.lengths, settings.batch_tokens, settings.batch_size):
            if self._time_limit is not None and perf_counter() - started > self._time_limit:
                log.warning(
                    "reranking took longer than reranker.time_limit=%s s after %d of %d passages: keeping the "
                    "retriever's order; lower reranker.depth", self._time_limit, len(scores), len(texts),
                )  # fmt: skip
                return []
            logits = ready.run(batch)
            values = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            # Rounded: the last digits depend on the other texts of the batch, and equal texts must tie.
            scores.update((n, round(value, 4)) for n, value in zip(batch, values.tolist(), strict=True))
        if not all(map(math.isfinite, scores.values())):
            raise InputError(
                f"reranker.name={settings.name} returns scores that are not finite; the checkpoint is broken: use "
                "another or train it again"
            )
        return [scores[number] for number in range(len(texts))]

    @cached_property
    def _backend(self) -> LibraryScorer | ExportedScorer:
        if self._settings.backend == "torch":
            return LibraryScorer(self._settings)
        return ExportedScorer(self._settings, pooling=None)


def _best_first(scores: Sequence[float]) -> list[int]:
    """Returns the indices of the scores, best first; ties keep the retriever's order."""
    return sorted(range(len(scores)), key=lambda number: -scores[number])


def _standardised(scores: Sequence[float]) -> list[float]:
    """Returns the scores scaled to mean 0 and standard deviation 1; all 0 if they are equal."""
    mean, deviation = fmean(scores), pstdev(scores)
    return [(score - mean) / deviation if deviation else 0.0 for score in scores]
