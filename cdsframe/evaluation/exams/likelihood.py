"""Computes log-likelihoods of candidate answers over the tokens of `cdsframe.chat.encoding`.

Message content cannot inject special tokens, and the scored turn has the same tokens as in training and serving.
`token_likelihood` computes. Does not choose the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

from cdsframe.chat.encoding import IGNORED, encode
from cdsframe.contracts import LanguageModel
from cdsframe.errors import InputError
from cdsframe.evaluation.exams.likelihood_cache import cached_log_likelihoods
from cdsframe.types import Message

log = logging.getLogger(__name__)


def score_options(
    model: LanguageModel,
    asked: Sequence[tuple[list[Message], list[str]]],
    batch_tokens: int,
    labels: bool = False,
    cache: str | None = None,
) -> list[list[float]]:
    """Returns, for each conversation, the natural log-likelihood of each target as the assistant's turn.

    If the tokens of one target are a prefix of another's, the longer target could never win: all targets of that
    conversation are then scored including the end-of-turn tokens. The same applies if targets have different numbers of
    end-of-turn tokens: one token may contain a target's last letter and the line break that starts the end of the turn.

    Args:
        batch_tokens: maximum tokens of a forward pass.
        labels: whether the targets are option labels ("A", "B"). If the labels of a conversation have different numbers
            of tokens, they are scored including the end-of-turn tokens, too.
        cache: folder of stored log-likelihoods; None: no cache.

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
            pairs.append((one.input_ids[: span[0]], one.input_ids[span[0] : until]))
    if with_end:
        log.info(
            "%d questions are scored including the end-of-turn tokens, since the tokens of one option begin another's, "
            "or the options differ in their number of label or end-of-turn tokens",
            with_end,
        )
    scores = iter(cached_log_likelihoods(model, pairs, batch_tokens, cache))
    return [[next(scores) for _ in targets] for _, targets in asked]


def _any_prefix(targets: Sequence[Sequence[int]]) -> bool:
    """Whether one token list is a proper prefix of another. In sorted order it is enough to compare neighbours."""
    ordered = sorted(map(tuple, targets))
    return any(a != b and b[: len(a)] == a for a, b in pairwise(ordered))
