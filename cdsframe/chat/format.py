"""Derives a model's chat format from its template and tokenizer: renders conversations of numbered placeholders.

Repairs a template whose generation prompt differs from the text before an answer in training, or that writes no end
marker behind an answer; raises ConfigError if that is impossible. Does not log (see `cdsframe.chat.examination`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from cdsframe.chat.template import RefusedError, Template, Turn, mark, split_at_marks, template_of
from cdsframe.chat.tokens import AnsweredConversation, SafeTokenizer
from cdsframe.chat.turns import EMPTY_SYSTEM, Roles, arrangements
from cdsframe.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ConversationForm:
    """The template's text of a conversation with given roles; control tokens have their secret names.

    Args:
        before: the text before each content of the prompt, then the text after the last content.
        numbers: indices of the contents, in the order in which the prompt shows them.
        gap: blanks between the prompt and the answer; they are tokenised as part of the answer.
        closing: the text that ends the assistant's turn, with the tokens that stop generation.
        rest: the text that the template prints after `closing`.
        turns: the turns that the template prints, with the numbers of the contents in each.
        repaired: text before the answer that the generation prompt lacks or has differently; empty if both are equal.
        added: why cdsframe adds `closing` (the template prints no end of an answer); empty if the template prints it.
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
        """Returns the prompt's text. `contents`: one text per message, in the messages' order."""
        shown = [contents[number] for number in self.numbers]
        return "".join(part for pair in zip(self.before, [*shown, ""], strict=True) for part in pair)


class ChatFormat:
    """The forms of conversations with one model. `of` caches one `ChatFormat` per tokenizer.

    Callers pass the tokenizer to each method: a reference here would keep it alive in the cache.
    """

    def __init__(self, tokenizer: Any, in_parts: bool) -> None:
        self.template, self.tokens = Template(template_of(tokenizer), in_parts), SafeTokenizer(tokenizer)
        self.ends: frozenset[int] = frozenset()
        """Ids that stop generation: those that end the assistant's turn, and eos."""
        self.openings: re.Pattern[str] | None = None
        """Matches plain text with which the template opens a turn; in contents such text is split into letters."""
        self._forms: dict[Roles, ConversationForm] = {}
        name, id = tokenizer.eos_token, tokenizer.eos_token_id
        self.eos = (str(name), int(id)) if name is not None and id is not None and name.strip() else None
        self.earlier_end = self._earlier_end(tokenizer)
        """Text that ends an answer before a further message; empty if none. Some templates end only such answers."""

    @staticmethod
    def of(tokenizer: Any) -> ChatFormat:
        """Returns the tokenizer's format, examined at the first call. Raises ConfigError for an unusable template."""
        from cdsframe.chat.examination import examined

        key = (str(tokenizer.chat_template), len(tokenizer), tokenizer.eos_token)
        known = _KNOWN.get(tokenizer)
        if known is None or known[0] != key:
            known = _KNOWN[tokenizer] = key, examined(tokenizer)
        return known[1]

    def prompts(self, tokenizer: Any, conversations: Sequence[tuple[Roles, Sequence[str]]]) -> list[list[int]]:
        """Returns the prompt's token ids for each conversation; a conversation is a pair of roles and contents."""
        texts = [self.form(tokenizer, roles).prompt(self._contents(contents)) for roles, contents in conversations]
        return self.tokens.prompts(texts)

    def with_answers(
        self, tokenizer: Any, conversations: Sequence[tuple[Roles, Sequence[str], str]]
    ) -> list[AnsweredConversation]:
        """Returns the ids of each conversation, given as roles, contents and answer."""
        texts = []
        for roles, contents, answer in conversations:
            form = self.form(tokenizer, roles)
            prompt = form.prompt(self._contents(contents))
            texts.append((prompt, form.gap + self._contents([answer])[0], form.closing, form.rest))
        return self.tokens.with_answers(texts)

    def form(self, tokenizer: Any, roles: Roles) -> ConversationForm:
        """Returns the form of conversations with these roles. Raises ConfigError if the template cannot print them."""
        if roles not in self._forms:
            self._forms[roles] = self._derive(tokenizer, roles)
        return self._forms[roles]

    def _contents(self, texts: Sequence[str]) -> list[str]:
        stripped = [text.strip() for text in texts]
        if self.openings is None:
            return stripped
        return [self.openings.sub(lambda found: self.tokens.broken(found[0]), text) for text in stripped]

    def _derive(self, tokenizer: Any, roles: Roles) -> ConversationForm:
        """Derives a form. Its prompt is the text before an answer, without blanks that the generation prompt lacks."""
        turns, answered = self._arranged(tokenizer, roles)
        asked = self.template.show(tokenizer, turns, asks=True)
        if answered is None:  # the template cannot print an answer after these turns
            return self._build(turns, asked, "", None, "")
        prefix, tail = answered
        if prefix.rstrip() == asked.rstrip():
            prompt = _shared(prefix, asked)
            return self._build(turns, prompt, prefix[len(prompt) :], tail, "")
        if prefix.rstrip() == self.template.show(tokenizer, turns, asks=False).rstrip():
            # Only the generation prompt names the assistant.
            return self._build(turns, asked, "", tail, asked[len(prefix.rstrip()) :])
        same = len(_shared(prefix, asked))
        return self._build(turns, prefix, "", tail, prefix[same:] or asked[same:])

    def _build(self, turns: Sequence[Turn], prompt: str, gap: str, tail: str | None, repaired: str) -> ConversationForm:
        """Builds a form. `tail`: the text after the answer; None if the template prints no answer here."""
        stripped = prompt.rstrip(" ")  # many tokenizers put a blank into the next word's token
        pieces, numbers = split_at_marks(stripped)
        named, end = self.tokens.named, _closing(self.tokens, tail or "", self.eos)
        closing, rest, added = named(end), named((tail or "")[len(end) :]), ""
        if not end:
            closing, rest, added = self._own_end(), "", self._why_added(tail)
        gap = prompt[len(stripped) :] + gap
        before = tuple(map(named, pieces))
        return ConversationForm(before, tuple(numbers), gap, closing, rest, tuple(turns), repaired, added)

    def _why_added(self, tail: str | None) -> str:
        """Returns why the end of an answer is added. `tail`: as in `_build`."""
        if tail is None:
            return "it does not print an answer as the last message"
        if self.tokens.controls(tail):
            return "it prints text between an answer and the next control token"
        return f"it prints no token after {'the last' if self.earlier_end else 'an'} answer"

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
        """Returns the end for an answer after which the template prints none.

        It is the end of a single turn's answer, else of an answer that is not the last message, else the eos token.
        """
        known = self._forms.get(("user",))
        if known is not None:
            return known.closing
        if self.earlier_end:
            return self.tokens.named(self.earlier_end)
        if self.eos is None:
            raise ConfigError(
                "the chat template prints no end token after an answer and the tokenizer has no eos token: generation "
                "would not stop; use another model, or set eos_token in its tokenizer_config.json"
            )
        return self.tokens.named(self.eos[0])

    def _arranged(self, tokenizer: Any, roles: Roles) -> tuple[list[Turn], tuple[str, str] | None]:
        """Returns `(turns, (text before an answer, text after it))` for the first usable arrangement of the messages.

        It is the first of `arrangements` that the template prints completely, followed by an answer. If there is none,
        returns `(turns, None)` for the first that it prints completely without an answer. Raises ConfigError if it
        prints no arrangement completely.
        """
        refusal = "it omits or repeats a message"
        asking: list[Turn] | None = None
        for turns in arrangements(roles):
            try:
                if not _shows(self.template.show(tokenizer, turns, asks=True), range(len(roles))):
                    continue
            except RefusedError as error:
                refusal = f"it raises {str(error)!r}"
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
                f"the chat template cannot print a conversation of the roles {', '.join(roles)}: {refusal}; use "
                "another model, or put a chat_template.jinja into its folder that prints each message once"
            )
        return asking, None


_KNOWN: WeakKeyDictionary[Any, tuple[Any, ChatFormat]] = WeakKeyDictionary()


def _closing(tokens: SafeTokenizer, tail: str, eos: tuple[str, int] | None, *, ends_first: bool = True) -> str:
    """Returns the part of `tail`, the text after an answer, that ends the turn; empty if no token does.

    Blanks may come before and between the tokens. A token directly followed by text opens the next turn, except the eos
    token, and the first token if `ends_first`.
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
    """Returns the common prefix of two texts."""
    length = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return first[:length] if length is not None else min(first, second, key=len)


def _shows(text: str, numbers: Sequence[int]) -> bool:
    """Whether a printed conversation contains the marks of these contents, each once, and no others."""
    return sorted(split_at_marks(text)[1]) == list(numbers)
