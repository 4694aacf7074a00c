"""Prompt templates: system instructions, numbered passages with their provenance, the question.

A template with a missing or an unknown variable raises ConfigError. Does not tokenise (see `cdsframe.chat.encoding`)
and does not retrieve.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Annotated, Any

from pydantic import Field

from cdsframe.errors import ConfigError, QuestionError
from cdsframe.types import Message, Passage

_VARIABLES = {
    "passage": {"number", "title", "heading", "kind", "department", "date", "text"},
    "grounded": {"passages", "question"},
    "closed_book": {"question"},
}
_NEEDED = {"passage": {"number", "text"}, "grounded": {"passages", "question"}, "closed_book": {"question"}}


class Prompt:
    """A template for questions with passages (`grounded`) and without (`closed_book`).

    Args:
        system: instructions that open every conversation with passages.
        system_closed_book: instructions that open a conversation without passages.
        passage: how one passage is shown; `{number}` is the marker that an answer cites.
        grounded, closed_book: the user's turn, with and without passages.
        refusal: the answer that training teaches for a question that the passages do not answer.
        refusal_pattern: regular expression that matches the beginning of a refusal, ignoring case. It must match
            `refusal`, and should match refusals of models that were not trained on it.
        cites: whether answers cite passages as `[1]`.
        max_tokens: maximum tokens of the whole prompt. The oldest turns of the history are omitted first, then the
            lowest-ranked passages, never the best passage or the question.
    """

    def __init__(
        self,
        system: str,
        system_closed_book: str,
        passage: str,
        grounded: str,
        closed_book: str,
        refusal: str,
        refusal_pattern: str,
        cites: bool,
        max_tokens: Annotated[int, Field(ge=32)],
    ) -> None:
        templates = {"passage": passage, "grounded": grounded, "closed_book": closed_book}
        problems = self.problems(passage, grounded, closed_book, refusal, refusal_pattern)
        if problems:
            raise ConfigError(problems)
        self._system, self._system_closed_book, self._templates = system.strip(), system_closed_book.strip(), templates
        self.refusal, self.cites, self.max_tokens = refusal.strip(), cites, max_tokens
        self._refuses = re.compile(refusal_pattern, re.IGNORECASE)

    @property
    def form(self) -> Mapping[str, Any]:
        """The settings that an adapter depends on: it was trained on conversations of this form."""
        return {
            "system": self._system,
            "system_closed_book": self._system_closed_book,
            **self._templates,
            "refusal": self.refusal,
            "cites": self.cites,
        }

    @staticmethod
    def problems(passage: str, grounded: str, closed_book: str, refusal: str, refusal_pattern: str) -> list[str]:
        """Returns the problems of the options: missing or unknown variables, a wrong `refusal_pattern`."""
        found = []
        try:
            if not re.compile(refusal_pattern, re.IGNORECASE).match(refusal.strip()):
                found.append("prompt.refusal_pattern does not match prompt.refusal")
        except re.error as error:
            found.append(f"prompt.refusal_pattern is no regular expression: {error}")
        for name, template in {"passage": passage, "grounded": grounded, "closed_book": closed_book}.items():
            try:
                used = {variable for _, variable, _, _ in Formatter().parse(template) if variable is not None}
            except ValueError as error:
                found.append(f"prompt.{name}: {error}")
                continue
            found += [f"prompt.{name} lacks the variable {{{v}}}" for v in sorted(_NEEDED[name] - used)]
            found += [
                f"prompt.{name} has no variable {{{v}}}; it has {', '.join(sorted(_VARIABLES[name]))}"
                for v in sorted(used - _VARIABLES[name])
            ]
        return found

    def render(self, question: str, passages: Sequence[Passage], history: Sequence[Message] = ()) -> list[Message]:
        """Returns the conversation that asks `question` over `passages`, numbered from 1 in the given order."""
        if not passages:
            system, user = self._system_closed_book, self._templates["closed_book"].format(question=question)
        else:
            shown = "\n".join(self._show(number, passage) for number, passage in enumerate(passages, start=1))
            system, user = self._system, self._templates["grounded"].format(passages=shown, question=question)
        opening = [Message("system", system)] if system else []
        return [*opening, *history, Message("user", user)]

    def fit(
        self,
        count: Callable[[Sequence[Message]], int],
        question: str,
        passages: Sequence[Passage],
        history: Sequence[Message] = (),
        order: Callable[[Sequence[Passage]], Sequence[Passage]] = list,
    ) -> tuple[list[Message], int]:
        """Returns a conversation of at most `max_tokens` tokens, and the number of passages that it shows.

        If needed, omits the oldest turns of the history, then the lowest-ranked passages, but not the best passage.

        Args:
            count: returns the number of tokens of a conversation.
            passages: the best passage first.
            order: arranges the passages that are shown; they are numbered in this order.

        Raises QuestionError if the question, with the best passage if there is one, is too long.
        """
        fewest = min(len(passages), 1)  # a question with passages is never asked without any
        choices = [(start, len(passages)) for start in range(0, len(history), 2)]
        choices += [(len(history), shown) for shown in range(len(passages), fewest - 1, -1)]

        def conversation(choice: tuple[int, int]) -> list[Message]:
            start, shown = choice
            return self.render(question, order(passages[:shown]), history[start:])

        def fits(choice: tuple[int, int]) -> bool:
            return count(conversation(choice)) <= self.max_tokens

        # Each choice is shorter than the previous one. The first (the whole history, all passages) usually fits.
        first = 0 if fits(choices[0]) else bisect_left(choices, True, lo=1, key=fits)
        if first < len(choices):
            return conversation(choices[first]), choices[first][1]
        raise QuestionError(
            f"the question (with its best passage) does not fit into prompt.max_tokens={self.max_tokens}"
        )

    def answer(self, text: str, cited: Sequence[int] = ()) -> str:
        """Returns the answer that training teaches: the text with markers, or the refusal if the text is empty."""
        if not text:
            return self.refusal
        markers = "".join(f" [{number}]" for number in cited) if self.cites else ""
        return text.strip() + markers

    def refuses(self, text: str) -> bool:
        """Whether an answer begins as `refusal_pattern` describes. An empty answer is no refusal."""
        return self._refuses.match(text.strip()) is not None

    def _show(self, number: int, passage: Passage) -> str:
        values = {
            "number": number,
            "title": passage.title,
            "heading": " > ".join(passage.heading),
            "kind": passage.metadata.get("kind", "document").replace("_", " "),
            "department": passage.metadata.get("department", ""),
            "date": passage.metadata.get("date", "undated"),
            "text": " ".join(passage.text.split()),
        }
        return self._templates["passage"].format(**values)
