"""Prints a conversation by a tokenizer's chat template, on a frozen date, with numbered marks in place of contents.

A chat template is a program by the model's author; any error that it raises becomes a RefusedError. Does not tokenise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cdsframe.errors import ConfigError

FROZEN_DATE = "26 Jul 2024"
"""Date for templates that print today's date (as Llama-3.2's), so that prompts do not change from day to day."""

_FROZEN = datetime(2024, 7, 26, tzinfo=UTC)
_CODES = "aAbBcdDeFgGhHIjklmMnpPrRStTuUVwWxXyYzZ"
_MARK = re.compile("\ue000(\\d+)\ue001")
_INSTEAD = "use the instruct variant of the model, or put a chat_template.jinja into its folder"

Turn = tuple[str, tuple[int, ...]]
"""A role and the numbers of the contents that the turn shows, in order."""


def mark(number: int) -> str:
    """Returns the mark that stands for content `number` in a printed conversation."""
    return f"\ue000{number}\ue001"


def split_at_marks(text: str) -> tuple[list[str], list[int]]:
    """Returns the texts around the marks (one more than marks) and the marks' numbers, in order."""
    pieces = _MARK.split(text)
    return pieces[::2], [int(number) for number in pieces[1::2]]


class RefusedError(Exception):
    """The template raised an error. Its message contains no content, since contents are replaced by marks."""


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template.

    Args:
        text: the template's Jinja source.
        in_parts: whether contents are passed as lists of parts, as templates of vision-language models expect, instead
            of as strings.
    """

    text: str
    in_parts: bool = False

    def show(self, tokenizer: Any, turns: Sequence[Turn], *, asks: bool) -> str:
        """Prints the conversation with marks in place of contents; `asks`: with the generation prompt.

        Raises RefusedError if the template raises any error.
        """
        texts = [(role, "\n\n".join(map(mark, numbers))) for role, numbers in turns]
        return self.print(tokenizer, texts, asks=asks)

    def print(self, tokenizer: Any, turns: Sequence[tuple[str, str]], *, asks: bool) -> str:
        """Prints a conversation of `(role, content)` turns as `show` does. Raises RefusedError."""
        messages = [
            {"role": role, "content": [{"type": "text", "text": text}] if self.in_parts else text}
            for role, text in turns
        ]
        try:
            return str(
                tokenizer.apply_chat_template(
                    messages,
                    chat_template=_with_frozen_clock(self.text),
                    tokenize=False,
                    add_generation_prompt=asks,
                    date_string=FROZEN_DATE,
                )
            )
        except Exception as error:  # noqa: BLE001 (a template may raise any exception)
            raise RefusedError(" ".join(str(error).split())[:200] or "it gives no reason") from None


def template_of(tokenizer: Any) -> str:
    """Returns the tokenizer's chat template, or else the default one. Raises ConfigError if neither can be used."""
    found = tokenizer.chat_template
    if isinstance(found, dict):
        if "default" not in found:
            raise ConfigError(
                f"the tokenizer has the chat templates {', '.join(sorted(found))} but none named default; {_INSTEAD}"
            )
        found = found["default"]
    return str(found) if found else default_template(tokenizer)


def default_template(tokenizer: Any) -> str:
    """Returns a template for a tokenizer without one: ChatML if it has ChatML's tokens, else plain-text headings.

    With headings, each answer ends with the eos token. Raises ConfigError if the tokenizer has no eos token.
    """
    if tokenizer.eos_token is None:
        raise ConfigError(f"the tokenizer has neither a chat template nor an eos token; {_INSTEAD}")
    if {"<|im_start|>", "<|im_end|>"} <= tokenizer.get_added_vocab().keys():
        before, between, end = "'<|im_start|>' + m['role'] + '\\n'", "'\\n'", "'<|im_end|>'"
        asks = "'<|im_start|>assistant\\n'"
    else:
        before, between = "'### ' + m['role'] | capitalize + '\\n'", "'\\n\\n'"
        end, asks = "(eos_token if m['role'] == 'assistant' else '')", "'### Assistant\\n'"
    opening = "{{ bos_token }}" if _begins_with_bos(tokenizer) else ""
    return (
        f"{opening}{{% for m in messages %}}{{{{ {before} + m['content'] + {end} + {between} }}}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {asks} }}}}{{% endif %}}"
    )


def _begins_with_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer adds its bos token to a text."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _with_frozen_clock(text: str) -> str:
    """Redefines the template's `strftime_now` to return the frozen date.

    Uses a macro, since transformers passes no function of ours to a template. `+%}` keeps the line break after it.
    """
    if "strftime_now" not in text:
        return text
    codes = {f"%{flag}{code}": _written(flag, code) for flag in ("-", "") for code in _CODES}
    replaced = "".join(f"|replace({code!r}, {value!r})" for code, value in codes.items())
    body = f"{{{{- format|replace('%%', '\ue002'){replaced}|replace('\ue002', '%') -}}}}"
    return f"{{%- macro strftime_now(format) -%}}{body}{{%- endmacro +%}}{text}"


def _written(flag: str, code: str) -> str:
    return _FROZEN.strftime(f"%{flag}{code}") if code not in "n" else "\n"
