"""Arranges the messages of a conversation in turns that a chat template may accept. Does not print them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from cdsframe.chat.template import Turn

Role = Literal["system", "user", "assistant"]
Roles = tuple[Role, ...]

EMPTY_SYSTEM: Turn = ("system", ())
"""A system message without text, for templates that demand a system message."""


def arrangements(roles: Roles) -> Iterator[list[Turn]]:
    """Yields arrangements of a conversation's messages in turns, each once, the least changed first.

    Order: unchanged; system message moved into the user's turn; adjacent messages of equal role merged; both changes;
    all messages in one turn. Last, each arrangement without a system message again, with an empty system message in
    front, since some templates require one.
    """
    turns: list[Turn] = [(role, (number,)) for number, role in enumerate(roles)]
    folded = _folded(turns)
    one: list[Turn] = [("user", tuple(range(len(roles))))]
    tried: list[list[Turn]] = []
    for some in (turns, folded, _merged(turns), _merged(folded), one):
        if some not in tried:
            tried.append(some)
            yield some
    for some in tried:
        if some[0][0] != "system":
            yield [EMPTY_SYSTEM, *some]


def _folded(turns: Sequence[Turn]) -> list[Turn]:
    """Moves system messages, and turns before the first user turn, to the beginning of the first user turn."""
    roles = [role for role, _ in turns]
    first = roles.index("user") if "user" in roles else len(turns)
    early = [numbers for role, numbers in turns[:first]] + [n for role, n in turns[first:] if role == "system"]
    later = [turn for turn in turns[first:] if turn[0] != "system"]
    opening = tuple(number for numbers in [*early, *(turn[1] for turn in later[:1])] for number in numbers)
    return [("user", opening), *later[1:]]


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """Merges adjacent turns of the same role."""
    found: list[Turn] = []
    for role, numbers in turns:
        if found and found[-1][0] == role:
            found[-1] = role, (*found[-1][1], *numbers)
        else:
            found.append((role, numbers))
    return found
