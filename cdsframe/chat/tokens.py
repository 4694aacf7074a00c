"""Tokenises a printed conversation so that only the chat template can write control tokens.

Contents are untrusted text. In a copy of the tokenizer, each control token has a secret name. These names are written
into the template's text; contents cannot contain them, so `<|im_end|>` in a passage is split into ordinary tokens,
regardless of the token's flags. Does not print conversations (see `cdsframe.chat.template`).
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cdsframe.errors import ConfigError

WORDS = "new_tokens"
"""Key in a tokenizer's settings (`init_kwargs`) that lists the words added by `model.new_tokens`."""

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


@dataclass(frozen=True, slots=True)
class AnsweredConversation:
    """Token ids: prompt `[0, prompt)`, answer `[prompt, answered)`, end of turn `[answered, closed)`, further text."""

    ids: list[int]
    prompt: int
    answered: int
    closed: int


class SafeTokenizer:
    """Tokenises texts in which control tokens have secret names (`named`).

    Args:
        tokenizer: a Hugging Face tokenizer. Control tokens are its added tokens, except blanks, single bytes and the
            words of `model.new_tokens`.
    """

    def __init__(self, tokenizer: Any) -> None:
        added = tokenizer.added_tokens_decoder
        special = {*tokenizer.all_special_tokens, *(token.content for token in added.values() if token.special)}
        own = {*tokenizer.init_kwargs.get(WORDS, ())}
        control = {id: t for id, t in added.items() if not _is_text(t.content, t.content in special, own)}
        self.control = {token.content: id for id, token in control.items()}
        self.words = sorted(name for name in self.control if name.isalnum() and name not in special)
        """Control tokens that look like words; in contents they are split into ordinary tokens."""
        longest_first = sorted(control.values(), key=lambda token: len(token.content), reverse=True)
        self._pattern = re.compile("|".join(map(_spelled, longest_first)) or "(?!)")
        nonce = secrets.token_hex(8)
        self._secret = {name: f"\ue000{nonce}:{id}\ue001" for name, id in self.control.items()}
        self._break = f"\ue000{nonce}\ue001"
        self._plain = (
            _Fast(tokenizer, self._secret, self._break, f"\ue000{nonce}:")
            if tokenizer.is_fast
            else _Slow(tokenizer, self._secret)
        )

    def named(self, text: str) -> str:
        """Replaces the control tokens in the template's text by their secret names."""
        return self._pattern.sub(lambda found: self._secret[found[0]], text)

    def controls(self, text: str) -> list[re.Match[str]]:
        """Returns the matches of control tokens in the template's text."""
        return list(self._pattern.finditer(text))

    def without_controls(self, text: str) -> str:
        """Replaces the control tokens in the template's text by blanks."""
        return self._pattern.sub(" ", text)

    def broken(self, text: str) -> str:
        """Separates a text's letters, so that no token contains two; if the tokens stay the same, inserts a blank."""
        letters = self._break.join(text) if isinstance(self._plain, _Fast) else text
        apart, together = self.prompts([letters, text])
        return letters if apart != together else f"{text[0]} {text[1:]}"

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each text."""
        return self._plain.prompts(texts)

    def with_answers(self, texts: Sequence[tuple[str, str, str, str]]) -> list[AnsweredConversation]:
        """Returns the ids of each `(prompt, answer, end of turn, further text)`. They begin with the prompt's ids."""
        return self._plain.with_answers(texts)


def _is_text(name: str, special: bool, own: set[str]) -> bool:
    """Whether contents may contain an added token: blanks, single bytes, words of `model.new_tokens`."""
    blank = not name.replace("\u2581", " ").strip()
    return blank or _BYTE.fullmatch(name) is not None or (name in own and not special)


def _spelled(token: Any) -> str:
    """Returns a pattern for an added token in text; a `single_word` token does not match inside a longer word."""
    name = re.escape(token.content)
    return rf"(?<!\w){name}(?!\w)" if token.single_word else name


class _Fast:
    """A copy of a tokenizer of the `tokenizers` library with secret names for its control tokens.

    Tokenises each text as a whole, exactly as the original does: with the same normalisation, blanks beside control
    tokens, and the blank that SentencePiece adds to a text.
    """

    def __init__(self, tokenizer: Any, secret: dict[str, str], cut: str, opening: str) -> None:
        from tokenizers import AddedToken, Tokenizer

        described = json.loads(tokenizer.backend_tokenizer.to_str())
        described |= {"truncation": None, "padding": None, "post_processor": None}
        normalizer = tokenizer.backend_tokenizer.normalizer
        for token in described["added_tokens"]:
            name = secret.get(token["content"], token["content"])
            if name != token["content"] and normalizer is not None and normalizer.normalize_str(name) != name:
                token["normalized"] = False  # else normalisation would change the secret name
            if name != token["content"]:
                token["single_word"] = False  # else adjacent letters of a content would hide the secret name
            token["content"] = name
        _rename(described["model"], secret)
        self._copy = Tokenizer.from_str(json.dumps(described))
        self._copy.encode_special_tokens = False
        self._copy.add_tokens([AddedToken(cut, normalized=False)])
        normalized = any(t["normalized"] for t in described["added_tokens"] if t["content"].startswith(opening))
        self._opening = "" if normalized else opening  # prefix of secret names; empty if they do not split a text
        self._cut, self._cut_text = self._copy.token_to_id(cut), cut
        ids = tokenizer.added_tokens_encoder
        self._ids = {self._copy.token_to_id(name): ids[own] for own, name in secret.items()}
        self._ids = {mine: own for mine, own in self._ids.items() if mine != own}

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._own(encoded.ids) for encoded in self._encode(texts)]

    def with_answers(self, texts: Sequence[tuple[str, str, str, str]]) -> list[AnsweredConversation]:
        places = [self._last_stretch(prompt) for prompt, *_ in texts]
        ends = list(dict.fromkeys(prompt[place:] for (prompt, *_), place in zip(texts, places, strict=True)))
        asked = dict(zip(ends, (encoded.ids for encoded in self._encode(ends)), strict=True))
        whole = self._encode(["".join(parts) for parts in texts])
        return [
            self._placed(encoded, place, asked[parts[0][place:]], *parts)
            for encoded, place, parts in zip(whole, places, texts, strict=True)
        ]

    def _last_stretch(self, prompt: str) -> int:
        """Returns the index of the last control token, or 0. Text before this index does not affect later tokens."""
        return max(0, prompt.rfind(self._opening)) if self._opening else 0

    def _placed(
        self, whole: Any, place: int, asked: list[int], prompt: str, answer: str, closing: str, rest: str
    ) -> AnsweredConversation:
        first = _token_at(whole, place) if place else 0
        before, start, asks = [], len(prompt), whole.ids[:first] + asked
        if whole.ids[first : first + len(asked)] != asked:  # the answer's first letters change the prompt's last token
            before, start = asks, len(self._cut_text)
            [whole] = self._encode([f"{self._cut_text}{answer}{closing}{rest}"])
        behind = start + len(answer)
        answered = _token_at(whole, behind)
        answered += (
            whole.token_to_chars(answered)[0] < behind
        )  # a token with the answer's last letter belongs to the answer
        closed = _token_at(whole, behind + len(closing) - 1) + 1
        prior = self._own(before)
        ends = (len(prior) + len(self._own(whole.ids[:end])) for end in (answered, closed))
        return AnsweredConversation(prior + self._own(whole.ids), len(self._own(asks)), *ends)

    def _own(self, ids: Sequence[int]) -> list[int]:
        """Converts ids of the renamed copy to ids of the original tokenizer; drops tokens that only separate text."""
        return [self._ids.get(id, id) for id in ids if id != self._cut]

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        return list(self._copy.encode_batch(list(texts), add_special_tokens=False))


def _token_at(whole: Any, place: int) -> int:
    """Returns the index of the token with character `place`, or with the next one: some tokenizers drop blanks."""
    length = whole.offsets[-1][1] if whole.ids else 0
    found = next((token for at in range(place, length) if (token := whole.char_to_token(at)) is not None), None)
    if found is None:
        raise ConfigError("the tokenizer drops the tokens that end an answer; use another model")
    return int(found)


class _Slow:
    """A tokenizer written in Python. Tokenises each text between control tokens separately."""

    def __init__(self, tokenizer: Any, secret: dict[str, str]) -> None:
        self._tokenizer = tokenizer
        self._ids = {name: tokenizer.convert_tokens_to_ids(own) for own, name in secret.items()}
        self._pattern = re.compile(f"({'|'.join(map(re.escape, self._ids)) or '(?!)'})")

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        return [[id for piece in self._pattern.split(text) if piece for id in self._piece(piece)] for text in texts]

    def with_answers(self, texts: Sequence[tuple[str, str, str, str]]) -> list[AnsweredConversation]:
        found = []
        for parts in texts:
            prompt, answer, closing, rest = self.prompts(parts)
            ends = len(prompt), len(prompt) + len(answer), len(prompt) + len(answer) + len(closing)
            found.append(AnsweredConversation([*prompt, *answer, *closing, *rest], *ends))
        return found

    def _piece(self, text: str) -> Iterable[int]:
        if text in self._ids:
            return [self._ids[text]]
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _rename(model: dict[str, Any], secret: dict[str, str]) -> None:
    """Also renames the control tokens in the vocabulary, so that no text is tokenised into a control token.

    The unknown token keeps its name: the tokenization model inserts it.
    """
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):  # Unigram
        unknown = model.get("unk_id")
        model["vocab"] = [
            [name if place == unknown else secret.get(name, name), score]
            for place, (name, score) in enumerate(vocabulary)
        ]
    elif isinstance(vocabulary, dict):
        hidden = {name: other for name, other in secret.items() if name != model.get("unk_token")}
        model["vocab"] = {hidden.get(name, name): id for name, id in vocabulary.items()}
        if "merges" in model:
            pairs = (pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"])
            model["merges"] = [pair for pair in pairs if not hidden.keys() & {*pair, "".join(pair)}]
    else:
        raise ConfigError("the tokenizer has a vocabulary of a type that cdsframe does not support; use another model")
