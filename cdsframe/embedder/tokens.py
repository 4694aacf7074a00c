"""Counts a model's tokens and locates them in a text, by its tokenizer alone. Does not load the model."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from cdsframe.encoder.folder import EncoderFolder
from cdsframe.encoder.inputs import load_tokenizer


class Tokens:
    """The tokenizer of one model, loaded at first use.

    Each letter that the tokenizer cannot read counts as one token of a text's length.
    """

    def __init__(self, folder: EncoderFolder) -> None:
        self._folder = folder

    @cached_property
    def tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer` without truncation and padding."""
        return load_tokenizer(self._folder)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Returns each text's number of tokens, special tokens included, as the model reads them without truncation."""
        return [len(encoding.ids) for encoding in self.tokenizer.encode_batch(list(texts))]

    @cached_property
    def special_tokens(self) -> int:
        """Number of special tokens added to a text."""
        return int(self.tokenizer.num_special_tokens_to_add(False))

    @cached_property
    def _unknown(self) -> int | None:
        """Id of the unknown token; None if the tokenizer has none (byte-level tokenizers)."""
        model = json.loads(self.tokenizer.to_str())["model"]
        if model["type"] == "Unigram":
            return None if model.get("byte_fallback") else model.get("unk_id")
        return None if model.get("unk_token") is None else self.tokenizer.token_to_id(model["unk_token"])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Returns the character spans of a text's tokens, and of each letter unknown to or dropped by the tokenizer."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        spans, unknown = encoding.offsets, self._unknown
        if text.isascii() and unknown not in encoding.ids:
            found: list[tuple[int, int]] = spans
            return found
        found, seen = list[tuple[int, int]](), 0
        for number, (start, end) in zip(encoding.ids, spans, strict=True):
            found += _letters(text, seen, start)
            found += _letters(text, max(start, seen), end) or [(start, end)] if number == unknown else [(start, end)]
            seen = max(seen, end)
        return found + _letters(text, seen, len(text))


def _letters(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Returns the spans of visible characters in `text[start:end]`, each with its combining marks.

    Needed because a tokenizer makes one unknown token of thousands of letters, and drops private-use characters.
    """
    found: list[tuple[int, int]] = []
    for place in range(start, end):
        kind = unicodedata.category(text[place])
        if kind in ("Mn", "Me") and found and found[-1][1] == place:
            found[-1] = found[-1][0], place + 1
        elif kind not in ("Mn", "Me", "Cc", "Cf", "Zs", "Zl", "Zp"):
            found.append((place, place + 1))
    return found
