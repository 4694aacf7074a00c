"""Tokenises conversations as early versions did, to check adapters that were trained before the format was recorded.

Early versions tokenised each content separately, and took the first token after the answer as the end of the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdsframe.chat.template import FROZEN_DATE, mark, split_at_marks


def legacy_ids(tokenizer: Any, roles: Sequence[str], contents: Sequence[str]) -> tuple[list[int], int, int] | None:
    """Returns `(ids, first, last)`, labelled tokens in `[first, last)`; None if the template cannot print the roles."""
    try:
        text = tokenizer.apply_chat_template(
            [{"role": role, "content": mark(number)} for number, role in enumerate(roles)],
            tokenize=False, date_string=FROZEN_DATE,
        )  # fmt: skip
    except Exception:  # noqa: BLE001 (a template may raise any exception)
        return None
    pieces, numbers = split_at_marks(text)
    if sorted(numbers) != list(range(len(roles))) or numbers[-1] != len(roles) - 1:
        return None
    ids: list[int] = []
    start = 0
    for piece, number in zip(pieces, numbers, strict=False):
        ids += _ids(tokenizer, piece)
        start = len(ids)
        ids += _ids(tokenizer, contents[number], split_special_tokens=True)
    tail = _ids(tokenizer, pieces[-1])
    return ids + tail, start, len(ids) + len(tail[:1])


def _ids(tokenizer: Any, text: str, **settings: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, **settings)["input_ids"]) if text else []
