"""Counts the questions that give no training example, by reason. Does not decide which give none."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cdsframe.errors import InputError

log = logging.getLogger(__name__)


@dataclass
class LeftOut:
    """Questions that give no example."""

    reasons: Counter[str] = field(default_factory=Counter)
    """Reason -> number of questions; too long examples are in `lengths` instead."""
    lengths: list[int] = field(default_factory=list)
    """Numbers of tokens of the examples that are too long."""

    def counted(self, max_length: int, with_passages: bool) -> Counter[str]:
        """Returns reason -> number of questions; for too long examples, the reason suggests values of `max_length`."""
        if not self.lengths:
            return self.reasons
        lengths = sorted(self.lengths)
        fix = f"{lengths[len(lengths) // 2]} would admit half of these, {lengths[-1]} all"
        fix += "; or a smaller prompt.max_tokens" if with_passages else ""
        reason = f"are longer than training.max_length={max_length} tokens ({fix})"
        return self.reasons + Counter({reason: len(lengths)})


def report_left_out(left_out: Mapping[str, int], questions: int, examples: int) -> None:
    """Logs how many questions give no example, by reason. Raises InputError if there is no example at all."""
    said = "; ".join(f"{number} {reason}" for reason, number in left_out.items())
    if not examples:
        raise InputError(f"training: none of {questions} questions gives an example: {said or 'no questions'}")
    if said:
        log.warning("some of %d questions are left out: %s", questions, said)
