"""A generator that says what it was told to say: the public double of tests and demonstrations without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from cdsframe.types import Generation, Message


class ScriptedGenerator:
    """Answers by a function of the messages, word by word; a token is a word, its log-probability is given.

    `conversations` keeps every conversation it was asked, `said` counts the words it has said.
    """

    generates = True
    uses_model = False

    name = "scripted"
    temperature = 0.0

    def __init__(
        self, answer: str | Callable[[Sequence[Message]], str], log_probability: float = -0.1, max_new_tokens: int = 64
    ) -> None:
        self._answer = answer if callable(answer) else lambda messages: answer
        self._log_probability, self.max_new_tokens = log_probability, max_new_tokens
        self.conversations: list[list[Message]] = []
        self.said = 0

    def load(self) -> None:
        """There is nothing to load."""

    def count(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        return [list(self.stream(messages))[-1] for messages in conversations]  # type: ignore[misc]

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        self.conversations.append(list(messages))
        words = re.findall(r"\S+\s*", self._answer(messages))
        spoken = words[: self.max_new_tokens]
        for word in spoken:
            self.said += 1
            yield word
        yield Generation(
            text="".join(spoken).strip(),
            log_probabilities=(self._log_probability,) * len(spoken),
            prompt_tokens=self.count(messages),
            completion_tokens=len(spoken),
            finish_reason="stop" if spoken == words else "length",
        )
