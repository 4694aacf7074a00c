"""Questions whose evidence was found, turned into examples part by part, with counts of those that give none.

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
    """Reason -> number of questions; without those whose examples are too long."""
    lengths: list[int] = field(default_factory=list)
    """Numbers of tokens of the examples that are too long."""


class PreparedQuestions:
    """The examples of a list of questions, part by part.

    Args:
        usable: the questions that may give an example.
        encoded: makes the examples of some questions, and counts those that give none.
        counted: turns the counts into reason -> number of questions.
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
        """The examples of the questions from `start` to `stop`, all tokenised at once."""
        return self._encoded(self._usable[start:stop], self._left_out)

    @property
    def left_out(self) -> Counter[str]:
        """Reason -> number of questions that gave no example so far."""
        return self._counted(self._left_out)


def tell_left_out(left_out: Mapping[str, int], questions: int, examples: int) -> None:
    """Logs how many questions give no example, by reason. Raises InputError where there is no example."""
    said = "; ".join(f"{number} {reason}" for reason, number in left_out.items())
    if not examples:
        raise InputError(f"training: of {questions} questions no example is left: {said or 'there were none'}")
    if said:
        log.warning("of %d questions left out: %s", questions, said)
