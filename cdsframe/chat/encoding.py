"""Encodes messages (and an answer) as tokens and labels, for training, scoring and serving alike.

Contents are untrusted text: only the chat template can write control tokens, so a passage that contains `<|im_start|>`
stays text and cannot open a turn. Does not choose passages (see `cdsframe.prompt`) and has no list of known models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cdsframe.artifacts.digests import digest, digest_of
from cdsframe.chat.examination import ASKED
from cdsframe.chat.format import ChatFormat
from cdsframe.chat.legacy import legacy_ids
from cdsframe.chat.tokens import AnsweredConversation
from cdsframe.types import Message

IGNORED = -100
"""Label of a token that the loss ignores (PyTorch's `ignore_index`)."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a conversation, and their labels: the id in the answer and the end of the turn, else IGNORED."""

    input_ids: list[int]
    labels: list[int]
    closing: int = 1
    """Number of end-of-turn tokens, which are the last labelled tokens."""

    @property
    def labelled(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def encode(tokenizer: Any, messages: Sequence[Message], answer: str | None = None) -> Encoded:
    """Tokenises a conversation by the tokenizer's chat template.

    With an answer, the assistant's turn is appended; the tokens of the answer and of the end of the turn are labelled.
    Without an answer, the sequence ends with the generation prompt. Both sequences begin with the same prompt tokens.

    Raises ConfigError if the chat template cannot be used.
    """
    return encode_many(tokenizer, [(messages, answer)])[0]


def encode_many(tokenizer: Any, conversations: Sequence[tuple[Sequence[Message], str | None]]) -> list[Encoded]:
    """Encodes pairs of messages and answer as `encode` does, in one call: fast tokenizers use all cores."""
    format = ChatFormat.of(tokenizer)
    split = [
        (tuple(m.role for m in messages), [m.content for m in messages], answer) for messages, answer in conversations
    ]
    prompts = iter(format.prompts(tokenizer, [(roles, texts) for roles, texts, answer in split if answer is None]))
    answered = iter(
        format.with_answers(tokenizer, [(r, texts, answer) for r, texts, answer in split if answer is not None])
    )
    return [_unlabelled(next(prompts)) if answer is None else _labelled(next(answered)) for *_, answer in split]


def _unlabelled(ids: list[int]) -> Encoded:
    return Encoded(ids, [IGNORED] * len(ids))


def _labelled(conversation: AnsweredConversation) -> Encoded:
    """Labels the answer and the end of its turn, which teaches the model to stop, but nothing after that."""
    ids, first, last = conversation.ids, conversation.prompt, conversation.closed
    labels = [IGNORED] * first + ids[first:last] + [IGNORED] * (len(ids) - last)
    return Encoded(ids, labels, closing=last - conversation.answered)


def end_of_turn_ids(tokenizer: Any) -> list[int]:
    """Returns the ids that stop generation: those that end the assistant's turn, and eos."""
    return sorted(ChatFormat.of(tokenizer).ends)


def chat_digest(tokenizer: Any) -> str:
    """Returns a digest of the tokens and labels of sample conversations.

    If it equals the digest recorded when an adapter was trained, prompts have the same tokens as in that training.
    Raises ConfigError if the chat template cannot be used.
    """
    asked = encode_many(tokenizer, [(messages, None) for messages, _ in _samples()])
    return digest_of(f"{one.input_ids}{one.labels}" for one in [*asked, *encode_many(tokenizer, _samples())])


def matches_legacy_encoding(tokenizer: Any) -> bool:
    """Whether sample conversations have the tokens and labels of versions that did not record a `chat_digest`."""
    found = []
    for (messages, answer), now in zip(_samples(), encode_many(tokenizer, _samples()), strict=True):
        turns = [*messages, Message("assistant", answer)]
        legacy = legacy_ids(tokenizer, [turn.role for turn in turns], [turn.content for turn in turns])
        if legacy is not None:
            ids, first, last = legacy
            labels = [IGNORED] * first + ids[first:last] + [IGNORED] * (len(ids) - last)
            found.append((now.input_ids, now.labels) == (ids, labels))
    return bool(found) and all(found)


def _samples() -> list[tuple[list[Message], str]]:
    """Returns pairs of messages and answer whose tokens change with the details of a template and tokenizer."""
    texts = ("Which dose is given?", "Ask the ward.", "How often?\nAnd why?", "Twice daily.")
    contents = [[Message(role, text) for role, text in zip(roles, texts, strict=False)] for roles in ASKED]
    return [(messages, answer) for messages in contents for answer in ("15 mg twice daily [1]", "Yes.", "(none)")]


def tokenizer_digest(tokenizer: Any) -> str | None:
    """Returns a digest of a fast tokenizer and its chat template; None for a tokenizer written in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    text = backend.to_str()
    own = text[max(0, text.find('"added_tokens"')) :]  # cuts off the last call's truncation and padding
    return digest(own, str(tokenizer.chat_template), str(tokenizer.special_tokens_map))
