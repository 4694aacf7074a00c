"""A generator that generates nothing, for commands that only retrieve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from cdsframe.errors import ConfigError
from cdsframe.types import Generation, Message


class NoGenerator:
    """Generates no answers; raises ConfigError if asked for one."""

    generates = uses_model = False
    name, max_new_tokens, temperature = "none", 0, 0.0

    def load(self) -> None:
        """Does nothing."""

    def count(self, messages: Sequence[Message]) -> int:
        return 0

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        return _refuse() if conversations else []

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        _refuse()


def _refuse() -> NoReturn:
    raise ConfigError("generator=none generates no answers; use generator=transformers, or only retrieve")
