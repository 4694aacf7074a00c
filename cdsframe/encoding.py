"""The one way from messages (and an answer) to tokens and labels, for training, scoring and serving alike.

Contents are untrusted text: the chat template's skeleton is tokenised with its special tokens, every content without,
so that a passage which contains `<|im_start|>` stays text and cannot open a turn. Does not choose passages (see
`cdsframe.prompt`) and does not know any model by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cdsframe.digests import digest
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
    return encode_many(tokenizer, [(messages, answer)])[0]


def encode_many(tokenizer: Any, conversations: Sequence[tuple[Sequence[Message], str | None]]) -> list[Encoded]:
    """`encode` of each pair of messages and answer, in one call of the tokenizer: a fast one uses all processors."""
    contents: list[str] = []
    forms: list[tuple[tuple[str, ...], bool]] = []
    for messages, answer in conversations:
        contents += [message.content.strip() for message in messages]
        roles = [message.role for message in messages]
        if answer is not None:
            contents.append(answer.strip())
            roles.append("assistant")
        forms.append((tuple(roles), answer is not None))
    skeletons = {form: _Skeleton.of(tokenizer, *form) for form in dict.fromkeys(forms)}
    tokens = iter(_ids(tokenizer, contents, split_special_tokens=True))
    return [skeletons[form].filled(list(islice(tokens, len(form[0])))) for form in forms]


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """A chat template's own tokens in a conversation of these roles: before each content, and behind the last."""

    before: list[list[int]]
    numbers: list[int]
    """The contents' numbers in the template's order."""
    tail: list[int]
    answered: bool

    @classmethod
    def of(cls, tokenizer: Any, roles: Sequence[str], answered: bool) -> _Skeleton:
        text = tokenizer.apply_chat_template(
            [{"role": role, "content": f"\ue000{number}\ue001"} for number, role in enumerate(roles)],
            tokenize=False,
            add_generation_prompt=not answered,
            date_string=_FROZEN_DATE,
        )
        pieces = _MARK.split(text)
        numbers = [int(number) for number in pieces[1::2]]
        if len(numbers) != len(roles):
            raise ValueError("the tokenizer's chat template leaves out or repeats a message")
        *before, tail = _ids(tokenizer, pieces[::2])
        return cls(before, numbers, tail, answered)

    def filled(self, contents: Sequence[list[int]]) -> Encoded:
        """The conversation with the tokens of its contents; the last of them is the answer, if there is one."""
        ids: list[int] = []
        labels: list[int] = []
        for before, number in zip(self.before, self.numbers, strict=True):
            _extend(ids, labels, before, labelled=False)
            _extend(ids, labels, contents[number], labelled=self.answered and number == len(contents) - 1)
        # The turn's end is what teaches the model to stop; what the template prints behind it is not the answer's.
        _extend(ids, labels, self.tail[:1], labelled=self.answered)
        _extend(ids, labels, self.tail[1:], labelled=False)
        return Encoded(ids, labels)


def end_of_turn_ids(tokenizer: Any) -> list[int]:
    """The tokens at which generation stops: the end of the assistant's turn, and the end of the text."""
    labelled = encode(tokenizer, [Message("user", "q")], "a")
    end = [label for label in labelled.labels if label != IGNORED][-1]
    return sorted({end, tokenizer.eos_token_id} - {None})


def tokenizer_digest(tokenizer: Any) -> str | None:
    """Of all that a fast tokenizer and its chat template do; None for one that is written in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    text = backend.to_str()
    own = text[max(0, text.find('"added_tokens"')) :]  # before it: how it was called last (truncation, padding)
    return digest(own, str(tokenizer.chat_template), str(tokenizer.special_tokens_map))


def _ids(tokenizer: Any, texts: Sequence[str], **settings: bool) -> list[list[int]]:
    """The tokens of each text; none of an empty one."""
    written = [text for text in texts if text]
    if not written:
        return [[] for _ in texts]
    settings |= {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    found = iter(tokenizer(written, **settings)["input_ids"])
    return [next(found) if text else [] for text in texts]


def _extend(ids: list[int], labels: list[int], more: list[int], *, labelled: bool) -> None:
    ids.extend(more)
    labels.extend(more if labelled else [IGNORED] * len(more))
