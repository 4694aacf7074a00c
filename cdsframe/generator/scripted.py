"""A generator with scripted answers: a public test double, also for demonstrations without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from cdsframe.types import Generation, Message


class ScriptedGenerator:
    """Answers by a function of the messages. Each word is a token with the log-probability `log_probability`.

    Attributes:
        conversations: all conversations that it has answered.
        num_generated: number of words generated in all answers.
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
        self.num_generated = 0

    def load(self) -> None:
        """Does nothing."""

    def count(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        return [list(self.stream(messages))[-1] for messages in conversations]  # type: ignore[misc]

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        self.conversations.append(list(messages))
        words = re.findall(r"\S+\s*", self._answer(messages))
        generated = words[: self.max_new_tokens]
        for word in generated:
            self.num_generated += 1
            yield word
        yield Generation(
            text="".join(generated).strip(),
            log_probabilities=(self._log_probability,) * len(generated),
            prompt_tokens=self.count(messages),
            completion_tokens=len(generated),
            finish_reason="stop" if generated == words else "length",
        )
