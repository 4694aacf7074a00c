"""Writes superscripts and subscripts as plain text that keeps their meaning. Does not read any format.

`10<sup>9</sup>/L` is `10^9/L`, never `109/L`; `H<sub>2</sub>O` is `H2O`; `5 mg<sup>2</sup>` is `5 mg^2`.
"""

from __future__ import annotations

_ORDINALS = frozenset(("st", "nd", "rd", "th", "er", "re", "ère", "ème", "º", "ª", "™", "®", "©", "°"))
"""Superscripts that belong to the number or word before them and change no meaning when set on the line."""


def superscript(before: str, text: str) -> str:
    """The superscript as it is appended to the text before it.

    Args:
        before: the text in front; its last letters decide.
        text: the superscript's own text.
    """
    inner = text.strip()
    if not inner or not before or (before[-1].isspace() and not before.rstrip(" ")[-1:].isdigit()):
        return text
    if inner.casefold() in _ORDINALS and before[-1].isalnum():
        return text
    return f"^({inner})" if any(character.isspace() for character in inner) else f"^{inner}"


def subscript(before: str, text: str) -> str:
    """The subscript as it is appended to the text before it. Behind a digit a mark keeps the two numbers apart."""
    inner = text.strip()
    if not inner or not before or not before[-1].isdigit() or not inner[0].isalnum():
        return text
    return f"_({inner})" if any(character.isspace() for character in inner) else f"_{inner}"
