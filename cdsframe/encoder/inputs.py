"""Tokenises texts, or pairs of texts, by the library `tokenizers`. Does not run a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.loading import loading
from cdsframe.encoder.folder import EncoderFolder

if TYPE_CHECKING:
    import numpy as np


def load_tokenizer(folder: EncoderFolder) -> Any:
    """Returns a model's `tokenizers.Tokenizer`, without truncation and padding."""
    from tokenizers import Tokenizer

    with loading(folder.place):
        if file := folder.tokenizer_file():
            tokenizer = Tokenizer.from_file(str(file))
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class Inputs:
    """The tokenizer of an export.

    Args:
        folder: the export.
        facts: content of its `export.json`.
        max_tokens: maximum tokens of a text or pair, special tokens included; of a longer pair, the longer text is
            truncated.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], max_tokens: int) -> None:
        from tokenizers import Tokenizer

        self._facts = facts
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_tokens, strategy="longest_first", direction=facts["truncation_side"])

    def tokenized(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[Any]:
        """Returns the truncated encodings (`tokenizers.Encoding`) of texts or pairs."""
        found: list[Any] = self._tokenizer.encode_batch(list(texts))
        return found

    def prompt_tokens(self, prompt: str) -> int:
        """Returns the number of tokens that a prompt adds before a text, a special token at the start included."""
        encoding = self._tokenizer.encode(prompt)
        return len(encoding.ids) - (1 if encoding.special_tokens_mask[-1:] == [1] else 0)

    def padded(self, encodings: Sequence[Any]) -> dict[str, np.ndarray]:
        """Returns int64 arrays `[n, tokens]` by input name, padded to the longest encoding."""
        import numpy as np

        longest = max(len(one.ids) for one in encodings)
        fill = {"input_ids": self._facts["pad_id"], "attention_mask": 0, "token_type_ids": self._facts["pad_type_id"]}
        found = {name: np.full((len(encodings), longest), value, dtype=np.int64) for name, value in fill.items()}
        for row, one in enumerate(encodings):
            size = len(one.ids)
            place = slice(longest - size, longest) if self._facts["padding_side"] == "left" else slice(size)
            found["input_ids"][row, place] = one.ids
            found["attention_mask"][row, place] = 1
            found["token_type_ids"][row, place] = one.type_ids
        return found
