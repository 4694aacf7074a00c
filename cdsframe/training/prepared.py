"""Turns questions into examples in parts, and counts the questions that give no example.

Does not decide what an example shows (see `cdsframe.training.examples`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdsframe.errors import InputError
from cdsframe.types import Question

if TYPE_CHECKING:
    from cdsframe.training.examples import Example

log = logging.getLogger(__name__)


@dataclass
class LeftOut:
    """Questions that give no example."""

    reasons: Counter[str] = field(default_factory=Counter)
    """Reason -> number of questions; too long examples are in `lengths` instead."""
    lengths: list[int] = field(default_factory=list)
    """Numbers of tokens of the examples that are too long."""


class PreparedQuestions:
    """Builds the examples of a list of questions in parts.

    Args:
        usable: questions that may give an example: unanswerable, or with gold passages, or closed-book.
        encoded: returns the examples of some questions, and adds the questions that give none to a `LeftOut`.
        counted: converts a `LeftOut` to reason -> number of questions.
    """

    def __init__(
        self,
        usable: Sequence[Question],
        left_out: LeftOut,
        encoded: Callable[[Sequence[Question], LeftOut], list[Example]],
        counted: Callable[[LeftOut], Counter[str]],
    ) -> None:
        self._usable, self._left_out, self._encoded, self._counted = usable, left_out, encoded, counted

    def __len__(self) -> int:
        return len(self._usable)

    def examples(self, start: int, stop: int) -> list[Example]:
        """Returns the examples of the questions from `start` up to `stop` (excluded), tokenised together."""
        return self._encoded(self._usable[start:stop], self._left_out)

    @property
    def left_out(self) -> Counter[str]:
        """Reason -> number of questions that gave no example so far."""
        return self._counted(self._left_out)


def report_left_out(left_out: Mapping[str, int], questions: int, examples: int) -> None:
    """Logs how many questions give no example, by reason. Raises InputError if there is no example at all."""
    said = "; ".join(f"{number} {reason}" for reason, number in left_out.items())
    if not examples:
        raise InputError(f"training: none of {questions} questions gives an example: {said or 'no questions'}")
    if said:
        log.warning("some of %d questions are left out: %s", questions, said)
