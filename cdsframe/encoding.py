"""The one way from messages (and an answer) to tokens and labels, for training, scoring and serving alike.

Contents are untrusted text: the chat template's skeleton is tokenised with its special tokens, every content without,
so that a passage which contains `<|im_start|>` stays text and cannot open a turn. Does not choose passages (see
`cdsframe.prompt`) and does not know any model by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cdsframe.types import Message

IGNORED = -100
"""The label of a token that has no part in the loss (PyTorch's `ignore_index`)."""

_FROZEN_DATE = "26 Jul 2024"
"""Given to templates that print today's date (Llama-3.2's does), so that a prompt is the same tomorrow."""

_MARK = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a whole conversation, and for each its label: the token itself in the answer, else IGNORED."""

    input_ids: list[int]
    labels: list[int]

    @property
    def labelled(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def encode(tokenizer: Any, messages: Sequence[Message], answer: str | None = None) -> Encoded:
    """Tokenises a conversation by the tokenizer's own chat template.

    With an answer, it is appended as the assistant's turn; its tokens and the token that ends the turn are labelled.
    Without, the sequence ends where the assistant begins to speak.
    """
    contents = [message.content.strip() for message in messages]
    if answer is not None:
        contents.append(answer.strip())
    roles = [message.role for message in messages] + (["assistant"] if answer is not None else [])
    skeleton = tokenizer.apply_chat_template(
        [{"role": role, "content": f"\ue000{number}\ue001"} for number, role in enumerate(roles)],
        tokenize=False,
        add_generation_prompt=answer is None,
        date_string=_FROZEN_DATE,
    )
    ids: list[int] = []
    labels: list[int] = []
    position = 0
    placed = 0
    for mark in _MARK.finditer(skeleton):
        number = int(mark[1])
        _extend(ids, labels, _skeleton_ids(tokenizer, skeleton[position : mark.start()]), labelled=False)
        content = tokenizer(contents[number], add_special_tokens=False, split_special_tokens=True)["input_ids"]
        _extend(ids, labels, content, labelled=answer is not None and number == len(contents) - 1)
        position = mark.end()
        placed += 1
    if placed != len(contents):
        raise ValueError("the tokenizer's chat template leaves out or repeats a message")
    tail = _skeleton_ids(tokenizer, skeleton[position:])
    if answer is None:
        _extend(ids, labels, tail, labelled=False)
    else:
        # The turn's end is what teaches the model to stop; what the template prints behind it is not the answer's.
        _extend(ids, labels, tail[:1], labelled=True)
        _extend(ids, labels, tail[1:], labelled=False)
    return Encoded(ids, labels)


def end_of_turn_ids(tokenizer: Any) -> list[int]:
    """The tokens at which generation stops: the end of the assistant's turn, and the end of the text."""
    labelled = encode(tokenizer, [Message("user", "q")], "a")
    end = [label for label in labelled.labels if label != IGNORED][-1]
    return sorted({end, tokenizer.eos_token_id} - {None})


def _skeleton_ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def _extend(ids: list[int], labels: list[int], more: list[int], *, labelled: bool) -> None:
    ids.extend(more)
    labels.extend(more if labelled else [IGNORED] * len(more))
