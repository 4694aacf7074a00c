"""Examines a chat format before work starts: prints sample conversations, logs repairs, and warns about their tokens.

Repairs nothing: `cdsframe.chat.format` does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from cdsframe.chat.format import ChatFormat, ConversationForm
from cdsframe.chat.template import RefusedError, split_at_marks
from cdsframe.chat.turns import EMPTY_SYSTEM, Roles
from cdsframe.errors import ConfigError, named

log = logging.getLogger(__name__)

ASKED: tuple[Roles, ...] = (
    ("user",),
    ("system", "user"),
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user"),
)
"""Roles of the conversations that the pipeline makes."""
_HARMLESS = ("Which dose is given?", "Ask the ward.", "How often is it given?", "Twice daily.")
_BRACKETS = re.compile(r"[\[<{|]\S*[\]>}|]")
_PRINTS = 16
"""How often a conversation is printed to detect a template with random output."""


def examined(tokenizer: Any) -> ChatFormat:
    """Returns a tokenizer's chat format and logs repairs. Raises ConfigError if the chat template cannot be used."""
    format = _readable(tokenizer)
    forms = {roles: format.form(tokenizer, roles) for roles in ASKED}
    asked = forms[ASKED[0]].turns
    if len({format.template.show(tokenizer, asked, asks=True) for _ in range(_PRINTS)}) > 1:
        raise ConfigError(
            "the chat template prints the same conversation differently each time, so answers would change; put a "
            "chat_template.jinja without random choices into the model's folder"
        )
    closings = [format.tokens.named(format.earlier_end), *(form.closing for form in forms.values())]
    ends = {format.tokens.control[name] for closing in closings for name in _end_names(format, closing)}
    format.ends = frozenset(ends | ({format.eos[1]} if format.eos else set()))
    format.openings, unmarked = _openings(format, tokenizer, forms[ASKED[-1]])
    for remark in _repairs(format, forms):
        log.info("chat template: %s", remark)
    for warning in [*_warnings(format, unmarked), *_different_tokens(format, tokenizer)]:
        log.warning("chat template: %s", warning)
    return format


def _readable(tokenizer: Any) -> ChatFormat:
    """Returns the format with contents as text or, if the template cannot print text, as lists of parts."""
    try:
        format = ChatFormat(tokenizer, in_parts=False)
        format.form(tokenizer, ("user",))
    except ConfigError:
        try:
            format = ChatFormat(tokenizer, in_parts=True)
            format.form(tokenizer, ("user",))
        except ConfigError:
            pass
        else:
            return format
        raise
    return format


def _end_names(format: ChatFormat, closing: str) -> list[str]:
    """Returns the control tokens in `closing`, the text that ends an answer."""
    return [name for name in format.tokens.control if format.tokens.named(name) in closing]


def _openings(format: ChatFormat, tokenizer: Any, form: ConversationForm) -> tuple[re.Pattern[str] | None, bool]:
    """Returns the plain text that opens turns, as a pattern, and whether blanks alone separate some turns.

    The pattern is None if there is no such text: control tokens or blanks separate all contents.
    """
    try:
        whole = format.template.show(tokenizer, [*form.turns, ("assistant", (len(form.numbers),))], asks=False)
    except RefusedError:
        whole = format.template.show(tokenizer, form.turns, asks=True)
    joined = {pair for _, numbers in form.turns for pair in pairwise(numbers)}
    pieces, numbers = split_at_marks(whole)
    inner = [piece for piece, pair in zip(pieces[1:-1], pairwise(numbers), strict=True) if pair not in joined]
    plain = [piece for piece in inner if not format.tokens.controls(piece)]
    if not plain:
        return None, False
    brackets = {word for piece in pieces for word in _BRACKETS.findall(format.tokens.without_controls(piece))}
    patterns = {re.escape(word) for word in brackets}
    for piece in plain:
        for line in piece.splitlines():
            words = line.strip()
            if words and not _BRACKETS.search(words):
                own_line = "\n" in piece[: piece.index(line)]
                start = "(?m:^[^\\S\\n]*)" if own_line else "(?<!\\w)" if words[0].isalnum() else ""
                patterns.add(start + re.escape(words))
    return (re.compile("|".join(sorted(patterns))) if patterns else None), not all(map(str.strip, plain))


def _repairs(format: ChatFormat, forms: dict[Roles, ConversationForm]) -> Iterator[str]:
    asked, instructed, later = forms[ASKED[0]], forms[ASKED[1]], forms[ASKED[2]]
    if format.template.in_parts:
        yield "contents are passed as lists of parts, as it expects"
    if EMPTY_SYSTEM in asked.turns:
        yield "it requires a system message; an empty one is added where a conversation has none"
    if ("system", (0,)) not in instructed.turns:
        yield "it accepts no system message; the instructions are put at the beginning of the user's turn"
    if ("assistant", (1,)) not in later.turns:
        yield "it accepts no earlier turns; they are put into the user's turn"
    if asked.repaired:
        yield (
            f"the text before an answer differs from the generation prompt by {named(asked.repaired)}; prompts use the "
            "text before answers, as in training"
        )
    if asked.added:
        names = " and ".join(map(named, _end_names(format, asked.closing)))
        yield f"{asked.added}; {names} is added and trained"
    if format.tokens.words:
        words = ", ".join(map(named, format.tokens.words[:5]))
        yield (
            f"{len(format.tokens.words)} added tokens that look like words ({words}) are split in questions and "
            "documents, as all added tokens are"
        )


def _warnings(format: ChatFormat, unmarked: bool) -> Iterator[str]:
    if format.openings is not None or unmarked:
        yield (
            "the template marks turns with plain text. cdsframe splits this text in documents, but the model can still "
            "read it as a turn; prefer a template with control tokens"
        )


def _different_tokens(format: ChatFormat, tokenizer: Any) -> Iterator[str]:
    """Yields warnings if tokens differ from those of the tokenizer's `apply_chat_template`, or about the bos token."""
    bos, differing = tokenizer.bos_token_id, 0
    encoded = []
    for roles in ASKED:
        contents = [_HARMLESS[number] for number in range(len(roles))]
        [ours] = format.with_answers(tokenizer, [(roles, contents, _HARMLESS[-1])])
        encoded.append(ours.ids)
        form = format.form(tokenizer, roles)
        turns = [(role, "\n\n".join(contents[n] for n in numbers)) for role, numbers in form.turns]
        try:
            text = format.template.print(tokenizer, [*turns, ("assistant", _HARMLESS[-1])], asks=False)
        except RefusedError:
            continue
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        until = ours.answered if form.added else len(ours.ids)
        whole = bool(form.added) or len(theirs) == until
        differing += not (form.repaired and form.added) and not (whole and theirs[:until] == ours.ids[:until])
    if differing:
        yield (
            f"{differing} of {len(ASKED)} sample conversations have other tokens than the tokenizer's "
            "apply_chat_template makes; the base model may answer less well"
        )
    if bos is None:
        return
    if any(ids[:2] == [bos, bos] for ids in encoded):
        yield f"it prints the bos token {named(tokenizer.bos_token)} twice at the beginning"
    elif tokenizer("a")["input_ids"][:1] == [bos] and any(ids[:1] != [bos] for ids in encoded):
        name = named(tokenizer.bos_token)
        yield f"it does not print the bos token {name}, which the tokenizer adds to other texts"
