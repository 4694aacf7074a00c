"""A model's chat format: its template and tokenizer, examined once by printing small conversations.

Repairs and logs, or refuses in one sentence, a template whose generation prompt differs from what stands before a
trained answer, or that never ends an answer. Does not choose what is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from cdsframe.chat.template import RefusedError, Template, Turn, mark, split_at_marks, template_of
from cdsframe.chat.tokens import Spoken, Tokens
from cdsframe.chat.turns import EMPTY_SYSTEM, Roles, arrangements
from cdsframe.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Form:
    """How a conversation of some roles is written: text with control tokens under their secret names.

    Args:
        before: the prompt's text before each content, and behind the last one.
        numbers: the contents' numbers in the prompt's order.
        gap: what stands between the prompt and the answer: blanks, which belong to the answer.
        closing: what ends the assistant's turn, with the tokens at which generation stops.
        rest: what the template prints behind it.
        turns: the turns that the template prints, with the numbers of the contents in each.
        repaired: text before the answer that the generation prompt lacks or has differently; empty if equal.
        added: why `closing` is not what the template prints behind the answer; empty if it is.
    """

    before: tuple[str, ...]
    numbers: tuple[int, ...]
    gap: str
    closing: str
    rest: str
    turns: tuple[Turn, ...]
    repaired: str
    added: str

    def prompt(self, contents: Sequence[str]) -> str:
        """The text that asks."""
        shown = [contents[number] for number in self.numbers]
        return "".join(part for pair in zip(self.before, [*shown, ""], strict=True) for part in pair)


class ChatFormat:
    """The forms of conversations with one model. `of` gives the same one for the same tokenizer.

    It does not hold the tokenizer, which callers hand over, so that it lives no longer than the tokenizer does.
    """

    def __init__(self, tokenizer: Any, in_parts: bool) -> None:
        self.template, self.tokens = Template(template_of(tokenizer), in_parts), Tokens(tokenizer)
        self.ends: frozenset[int] = frozenset()
        """The tokens at which generation stops: those that end the assistant's turn, and the eos token."""
        self.openings: re.Pattern[str] | None = None
        """Words of plain text with which the template opens a turn; they are broken up in contents."""
        self._forms: dict[Roles, Form] = {}
        name, id = tokenizer.eos_token, tokenizer.eos_token_id
        self.eos = (str(name), int(id)) if name is not None and id is not None and name.strip() else None
        self.earlier_end = self._earlier_end(tokenizer)
        """What ends an answer that is not the last message: some templates end no other. Empty if nothing does."""

    @staticmethod
    def of(tokenizer: Any) -> ChatFormat:
        """The tokenizer's format, examined at the first call. Raises ConfigError where it cannot be used."""
        from cdsframe.chat.examination import examined

        key = (str(tokenizer.chat_template), len(tokenizer), tokenizer.eos_token)
        known = _KNOWN.get(tokenizer)
        if known is None or known[0] != key:
            known = _KNOWN[tokenizer] = key, examined(tokenizer)
        return known[1]

    def prompts(self, tokenizer: Any, conversations: Sequence[tuple[Roles, Sequence[str]]]) -> list[list[int]]:
        """The tokens that ask, of each conversation's roles and contents."""
        texts = [self.form(tokenizer, roles).prompt(self._contents(contents)) for roles, contents in conversations]
        return self.tokens.prompts(texts)

    def spoken(self, tokenizer: Any, conversations: Sequence[tuple[Roles, Sequence[str], str]]) -> list[Spoken]:
        """The tokens of each conversation with its answer."""
        texts = []
        for roles, contents, answer in conversations:
            form = self.form(tokenizer, roles)
            prompt = form.prompt(self._contents(contents))
            texts.append((prompt, form.gap + self._contents([answer])[0], form.closing, form.rest))
        return self.tokens.spoken(texts)

    def form(self, tokenizer: Any, roles: Roles) -> Form:
        """How a conversation of these roles is asked and answered. Raises ConfigError where the template refuses it."""
        if roles not in self._forms:
            self._forms[roles] = self._found(tokenizer, roles)
        return self._forms[roles]

    def _contents(self, texts: Sequence[str]) -> list[str]:
        stripped = [text.strip() for text in texts]
        if self.openings is None:
            return stripped
        return [self.openings.sub(lambda found: self.tokens.broken(found[0]), text) for text in stripped]

    def _found(self, tokenizer: Any, roles: Roles) -> Form:
        """The prompt is what stands before an answer, but for blanks that the generation prompt lacks."""
        turns, answered = self._arranged(tokenizer, roles)
        asked = self.template.show(tokenizer, turns, asks=True)
        if answered is None:  # the template has no way to print an answer behind these turns
            return self._made(turns, asked, "", None, "")
        prefix, tail = answered
        if prefix.rstrip() == asked.rstrip():
            prompt = _shared(prefix, asked)
            return self._made(turns, prompt, prefix[len(prompt) :], tail, "")
        if prefix.rstrip() == self.template.show(tokenizer, turns, asks=False).rstrip():
            # The generation prompt alone says who speaks.
            return self._made(turns, asked, "", tail, asked[len(prefix.rstrip()) :])
        same = len(_shared(prefix, asked))
        return self._made(turns, prefix, "", tail, prefix[same:] or asked[same:])

    def _made(self, turns: Sequence[Turn], prompt: str, gap: str, tail: str | None, repaired: str) -> Form:
        """The form of a prompt, the blanks between it and the answer, and what stands behind the answer."""
        stripped = prompt.rstrip(" ")  # a blank before a word is part of its token
        pieces, numbers = split_at_marks(stripped)
        named, end = self.tokens.named, _closing(self.tokens, tail or "", self.eos)
        closing, rest, added = named(end), named((tail or "")[len(end) :]), ""
        if not end:
            closing, rest, added = self._own_end(), "", self._why_added(tail)
        gap = prompt[len(stripped) :] + gap
        return Form(tuple(map(named, pieces)), tuple(numbers), gap, closing, rest, tuple(turns), repaired, added)

    def _why_added(self, tail: str | None) -> str:
        """Why the end of an answer is added. `tail` is what the template prints behind it, None if it prints none."""
        if tail is None:
            return "it does not print an answer as the last message"
        if self.tokens.controls(tail):
            return "it prints text between an answer and the next control token"
        return f"it prints no token behind {'the last' if self.earlier_end else 'an'} answer"

    def _earlier_end(self, tokenizer: Any) -> str:
        """The text that ends an answer which is not the last message; empty if the template prints no such end."""
        turns: list[Turn] = [("user", (0,)), ("assistant", (1,)), ("user", (2,))]
        for some in (turns, [EMPTY_SYSTEM, *turns]):
            try:
                pieces, numbers = split_at_marks(self.template.show(tokenizer, some, asks=True))
            except RefusedError:
                continue
            if numbers == [0, 1, 2]:
                first, _, behind, _ = pieces
                opening, ending = self.tokens.controls(first)[-1:], self.tokens.controls(behind)[-1:]
                if opening and ending and opening[0][0] == ending[0][0]:  # the token opens the user's turns
                    return _closing(self.tokens, behind[: ending[0].start()], self.eos, ends_first=False)
                return _closing(self.tokens, behind, self.eos)
        return ""

    def _own_end(self) -> str:
        """The end of an answer behind which the template prints none.

        That of a single turn's, else that of an earlier answer, else the eos token.
        """
        known = self._forms.get(("user",))
        if known is not None:
            return known.closing
        if self.earlier_end:
            return self.tokens.named(self.earlier_end)
        if self.eos is None:
            raise ConfigError(
                "the chat template ends an answer without an end token and the tokenizer has no eos token: "
                "generation would not stop; use another model, or set eos_token in its tokenizer_config.json"
            )
        return self.tokens.named(self.eos[0])

    def _arranged(self, tokenizer: Any, roles: Roles) -> tuple[list[Turn], tuple[str, str] | None]:
        """Returns the first arrangement (see `arrangements`) that the template prints completely.

        With it comes the text before and behind an answer, or None if the template prints an answer behind none.
        """
        refusal = "it leaves out or repeats a message"
        asking: list[Turn] | None = None
        for turns in arrangements(roles):
            try:
                if not _shows(self.template.show(tokenizer, turns, asks=True), range(len(roles))):
                    continue
            except RefusedError as error:
                refusal = f"it says {str(error)!r}"
                continue
            asking = asking or turns
            try:
                whole = self.template.show(tokenizer, [*turns, ("assistant", (len(roles),))], asks=False)
            except RefusedError:
                continue
            prefix, _, tail = whole.partition(mark(len(roles)))
            if _shows(whole, range(len(roles) + 1)) and _shows(prefix, range(len(roles))):
                return turns, (prefix, tail)
        if asking is None:
            raise ConfigError(
                f"the chat template does not print a conversation of the roles {', '.join(roles)}: {refusal}; use "
                "another model, or put a chat_template.jinja into its folder that prints each message once"
            )
        return asking, None


_KNOWN: WeakKeyDictionary[Any, tuple[Any, ChatFormat]] = WeakKeyDictionary()


def _closing(tokens: Tokens, tail: str, eos: tuple[str, int] | None, *, ends_first: bool = True) -> str:
    """The beginning of what stands behind an answer, up to the last of the tokens that end the turn; empty: none does.

    Blanks may stand before and between them. A token with text behind it opens the next turn, except the first token if
    `ends_first`.
    """
    end = 0
    for found in tokens.controls(tail):
        follows = tail[found.end() : found.end() + 1]
        opens = follows.strip() and not any(other.start() == found.end() for other in tokens.controls(tail))
        if tail[end : found.start()].strip() or (
            (end or not ends_first) and opens and (eos is None or found[0] != eos[0])
        ):
            break
        end = found.end()
    return tail[:end]


def _shared(first: str, second: str) -> str:
    """The beginning that two texts share."""
    length = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return first[:length] if length is not None else min(first, second, key=len)


def _shows(text: str, numbers: Sequence[int]) -> bool:
    """Whether a printed conversation has each content once."""
    return sorted(split_at_marks(text)[1]) == list(numbers)
