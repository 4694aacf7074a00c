"""Log-likelihoods of several answers to a question, by lm-eval's HFLM over the tokens of `cdsframe.chat.encoding`.

No content can inject a special token, and the scored turn has the tokens of training and serving. Softmax and sums are
float32 in every compute dtype. Does not decide which answer wins.
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
    """The log-likelihood (natural) of each target as the assistant's words, by conversation.

    Where the tokens of one target begin another's, the longer target could never win: then the end of the turn is
    scored with each target of that conversation. The same applies where targets end differently: one token may hold a
    target's last letter and the line break that begins the end of the turn.

    Args:
        labels: the targets are labels. Labels of unequal length in tokens are scored with the end of the turn, too.

    Raises InputError where the model computes no number.
    """
    pairs, with_end = [], 0
    for messages, targets in asked:
        encoded = [encode(model.tokenizer, messages, target) for target in targets]
        spans = [[place for place, label in enumerate(one.labels) if label != IGNORED] for one in encoded]
        ends = [one.closing for one in encoded]
        said = [one.input_ids[s[0] : s[-1] + 1 - one.closing] for one, s in zip(encoded, spans, strict=True)]
        unequal = len(set(ends)) > 1 or (labels and len(set(map(len, said))) > 1)
        overlapping = unequal or _one_begins_another(said)
        if overlapping and not min(ends):
            raise InputError("the chat template writes no end of the turn: labels of several tokens cannot be compared")
        with_end += overlapping
        for one, span in zip(encoded, spans, strict=True):
            until = span[-1] + 1 - (0 if overlapping else one.closing)
            pairs.append((("", ""), one.input_ids[: span[0]], one.input_ids[span[0] : until]))
    if with_end:
        log.info("%d questions have options of unequal length or end: the turn's end is scored with them", with_end)
    found = [score for score, _ in _harness(model, batch_size)._loglikelihood_tokens(pairs)]
    if broken := sum(not math.isfinite(score) for score in found):
        raise InputError(f"{model.name}: {broken} of {len(found)} log-likelihoods are no finite numbers; {_NO_NUMBERS}")
    scores = iter(found)
    return [[next(scores) for _ in targets] for _, targets in asked]


_NO_NUMBERS = "its weights are damaged, or overflow: try model.compute_dtype=float32, or get the weights anew"


def _one_begins_another(targets: Sequence[Sequence[int]]) -> bool:
    """Whether one list of tokens begins another, longer one. In sorted order such a list stands right before one."""
    ordered = sorted(map(tuple, targets))
    return any(a != b and b[: len(a)] == a for a, b in pairwise(ordered))


def _harness(model: LanguageModel, batch_size: int) -> Any:
    """lm-eval's HFLM around the module that we loaded."""
    lm_eval_log = logging.getLogger("lm_eval")
    level = lm_eval_log.level
    lm_eval_log.setLevel(logging.ERROR)  # it warns of every module that it did not load itself
    try:
        from lm_eval.models.huggingface import HFLM

        class Harness(HFLM):
            """Refuses texts: only pairs of tokens that `encode` made are scored, and nothing is cut silently."""

            def tok_encode(self, *args: Any, **kwargs: Any) -> list[int]:
                raise NotImplementedError("texts are encoded by cdsframe.chat.encoding only")

            def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
                longest = max(len(context) + len(target) for _, context, target in requests)
                if longest > self.max_length:
                    raise InputError(f"a question takes {longest} tokens, {model.name} reads {self.max_length}")
                return super()._loglikelihood_tokens(requests, *args, **kwargs)

            def _model_call(self, *args: Any, **kwargs: Any) -> Any:
                logits = super()._model_call(*args, **kwargs)
                if logits.isnan().any():
                    raise InputError(f"{model.name}: the model computes no numbers (NaN); {_NO_NUMBERS}")
                return logits

        return Harness(
            pretrained=model.load(), tokenizer=model.tokenizer, backend="causal", batch_size=batch_size,
            softmax_dtype="float32",
        )  # fmt: skip
    finally:
        lm_eval_log.setLevel(level)
