"""The one way from messages (and an answer) to tokens and labels, for training, scoring and serving alike.

Contents are untrusted text: only the chat template's own control tokens count as such, so that a passage which contains
`<|im_start|>` stays text and cannot open a turn. How a model's conversations are written says `cdsframe.chat`. Does not
choose passages (see `cdsframe.prompt`) and does not know any model by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cdsframe.artifacts.digests import digest, digest_of
from cdsframe.chat.before import spoken_before
from cdsframe.chat.examination import ASKED
from cdsframe.chat.format import ChatFormat
from cdsframe.chat.tokens import Spoken
from cdsframe.types import Message

IGNORED = -100
"""The label of a token that has no part in the loss (PyTorch's `ignore_index`)."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a whole conversation, and for each its label: the token itself in the answer, else IGNORED."""

    input_ids: list[int]
    labels: list[int]
    closing: int = 1
    """How many of the labelled tokens, the last ones, end the turn."""

    @property
    def labelled(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def encode(tokenizer: Any, messages: Sequence[Message], answer: str | None = None) -> Encoded:
    """Tokenises a conversation by the tokenizer's own chat template.

    With an answer, it is appended as the assistant's turn; its tokens and those that end the turn are labelled.
    Without, the sequence ends where the assistant begins to speak; the one with an answer begins with the same tokens.

    Raises ConfigError where the chat template cannot be used.
    """
    return encode_many(tokenizer, [(messages, answer)])[0]


def encode_many(tokenizer: Any, conversations: Sequence[tuple[Sequence[Message], str | None]]) -> list[Encoded]:
    """`encode` of each pair of messages and answer, in one call of the tokenizer: a fast one uses all processors."""
    format = ChatFormat.of(tokenizer)
    split = [
        (tuple(m.role for m in messages), [m.content for m in messages], answer) for messages, answer in conversations
    ]
    asked = iter(format.prompts(tokenizer, [(roles, texts) for roles, texts, answer in split if answer is None]))
    spoken = iter(format.spoken(tokenizer, [(r, texts, answer) for r, texts, answer in split if answer is not None]))
    return [_unlabelled(next(asked)) if answer is None else _labelled(next(spoken)) for *_, answer in split]


def _unlabelled(ids: list[int]) -> Encoded:
    return Encoded(ids, [IGNORED] * len(ids))


def _labelled(spoken: Spoken) -> Encoded:
    """Labels the answer and the end of its turn, which teaches the model to stop, not what the template prints then."""
    ids, first, last = spoken.ids, spoken.prompt, spoken.closed
    labels = [IGNORED] * first + ids[first:last] + [IGNORED] * (len(ids) - last)
    return Encoded(ids, labels, closing=last - spoken.answered)


def end_of_turn_ids(tokenizer: Any) -> list[int]:
    """The tokens at which generation stops: the end of the assistant's turn, and the end of the text."""
    return sorted(ChatFormat.of(tokenizer).ends)


def chat_digest(tokenizer: Any) -> str:
    """Of the tokens and labels of a few conversations: an adapter is asked as it was trained where it is the same.

    Raises ConfigError where the chat template cannot be used.
    """
    asked = encode_many(tokenizer, [(messages, None) for messages, _ in _samples()])
    return digest_of(f"{one.input_ids}{one.labels}" for one in [*asked, *encode_many(tokenizer, _samples())])


def encodes_as_before(tokenizer: Any) -> bool:
    """Whether conversations have the tokens and labels that cdsframe gave them before adapters had a `chat_digest`."""
    found = []
    for (messages, answer), now in zip(_samples(), encode_many(tokenizer, _samples()), strict=True):
        turns = [*messages, Message("assistant", answer)]
        before = spoken_before(tokenizer, [turn.role for turn in turns], [turn.content for turn in turns])
        if before is not None:
            ids, first, last = before
            labels = [IGNORED] * first + ids[first:last] + [IGNORED] * (len(ids) - last)
            found.append((now.input_ids, now.labels) == (ids, labels))
    return bool(found) and all(found)


def _samples() -> list[tuple[list[Message], str]]:
    """Conversations in which templates and tokenizers show what they do."""
    said = ("Which dose is given?", "Ask the ward.", "How often?\nAnd why?", "Twice daily.")
    contents = [[Message(role, text) for role, text in zip(roles, said, strict=False)] for roles in ASKED]
    return [(messages, answer) for messages in contents for answer in ("15 mg twice daily [1]", "Yes.", "(none)")]


def tokenizer_digest(tokenizer: Any) -> str | None:
    """Of all that a fast tokenizer and its chat template do; None for one that is written in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    text = backend.to_str()
    own = text[max(0, text.find('"added_tokens"')) :]  # before it: how it was called last (truncation, padding)
    return digest(own, str(tokenizer.chat_template), str(tokenizer.special_tokens_map))
