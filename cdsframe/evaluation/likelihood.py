"""Computes log-likelihoods of candidate answers with lm-eval's HFLM over the tokens of `cdsframe.chat.encoding`.

Message content cannot inject special tokens, and the scored turn has the same tokens as in training and serving.
Softmax and sums use float32 for every compute dtype. Does not choose the answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from cdsframe.chat.encoding import IGNORED, encode
from cdsframe.contracts import LanguageModel
from cdsframe.errors import InputError
from cdsframe.types import Message

log = logging.getLogger(__name__)


def score_options(
    model: LanguageModel, asked: Sequence[tuple[list[Message], list[str]]], batch_size: int, labels: bool = False
) -> list[list[float]]:
    """Returns, for each conversation, the natural log-likelihood of each target as the assistant's turn.

    If the tokens of one target are a prefix of another's, the longer target could never win: all targets of that
    conversation are then scored including the end-of-turn tokens. The same applies if targets have different numbers of
    end-of-turn tokens: one token may contain a target's last letter and the line break that starts the end of the turn.

    Args:
        labels: whether the targets are option labels ("A", "B"). If the labels of a conversation have different numbers
            of tokens, they are scored including the end-of-turn tokens, too.

    Raises InputError if a log-likelihood is not finite, a conversation is too long, or the chat template lacks an end
    of turn that is needed.
    """
    pairs, with_end = [], 0
    for messages, targets in asked:
        encoded = [encode(model.tokenizer, messages, target) for target in targets]
        spans = [[place for place, label in enumerate(one.labels) if label != IGNORED] for one in encoded]
        ends = [one.closing for one in encoded]
        target_ids = [one.input_ids[s[0] : s[-1] + 1 - one.closing] for one, s in zip(encoded, spans, strict=True)]
        unequal = len(set(ends)) > 1 or (labels and len(set(map(len, target_ids))) > 1)
        overlapping = unequal or _any_prefix(target_ids)
        if overlapping and not min(ends):
            raise InputError(
                f"the chat template of {model.name} has no end-of-turn token, which is needed to compare "
                "options of different length; use a chat template that ends the assistant's turn"
            )
        with_end += overlapping
        for one, span in zip(encoded, spans, strict=True):
            until = span[-1] + 1 - (0 if overlapping else one.closing)
            pairs.append((("", ""), one.input_ids[: span[0]], one.input_ids[span[0] : until]))
    if with_end:
        log.info(
            "%d questions are scored including the end-of-turn tokens, since the tokens of one option begin another's, "
            "or the options differ in their number of label or end-of-turn tokens",
            with_end,
        )
    found = [score for score, _ in _harness(model, batch_size)._loglikelihood_tokens(pairs)]
    if broken := sum(not math.isfinite(score) for score in found):
        raise InputError(f"{model.name}: {broken} of {len(found)} log-likelihoods are not finite; {_NO_NUMBERS}")
    scores = iter(found)
    return [[next(scores) for _ in targets] for _, targets in asked]


_NO_NUMBERS = "its weights are damaged or overflow; try model.compute_dtype=float32, or replace the weights"


def _any_prefix(targets: Sequence[Sequence[int]]) -> bool:
    """Whether one token list is a proper prefix of another. In sorted order it is enough to compare neighbours."""
    ordered = sorted(map(tuple, targets))
    return any(a != b and b[: len(a)] == a for a, b in pairwise(ordered))


def _harness(model: LanguageModel, batch_size: int) -> Any:
    """lm-eval's HFLM around the loaded module."""
    lm_eval_log = logging.getLogger("lm_eval")
    level = lm_eval_log.level
    lm_eval_log.setLevel(logging.ERROR)  # HFLM warns if it gets a loaded module instead of a name
    try:
        from lm_eval.models.huggingface import HFLM

        class Harness(HFLM):
            """Accepts only token pairs made by `encode`; rejects texts, and never truncates silently."""

            def tok_encode(self, *args: Any, **kwargs: Any) -> list[int]:
                raise NotImplementedError("pass tokens of cdsframe.chat.encoding instead of text")

            def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
                longest = max(len(context) + len(target) for _, context, target in requests)
                if longest > self.max_length:
                    raise InputError(
                        f"a question has {longest} tokens, but {model.name} reads at most {self.max_length}; "
                        "show fewer passages (prompt.max_tokens, retriever.top_k), or use another model"
                    )
                return super()._loglikelihood_tokens(requests, *args, **kwargs)

            def _model_call(self, *args: Any, **kwargs: Any) -> Any:
                logits = super()._model_call(*args, **kwargs)
                if logits.isnan().any():
                    raise InputError(f"{model.name}: the model outputs NaN; {_NO_NUMBERS}")
                return logits

        return Harness(
            pretrained=model.load(), tokenizer=model.tokenizer, backend="causal", batch_size=batch_size,
            softmax_dtype="float32",
        )  # fmt: skip
    finally:
        lm_eval_log.setLevel(level)
