"""Turns a page's elements into a stream of words and breaks, and one element into a line of text.

Does not decide which elements are text (see `around`) or how tables are laid out (see `tables`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum

from cdsframe.corpus.readers.html.formulas import formula
from cdsframe.corpus.readers.html.tree import NEVER_SHOWN, Node
from cdsframe.corpus.readers.scripts import subscript, superscript

INLINE = frozenset(
    ("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "blink", "cite", "code", "data", "del", "dfn", "em", "font", "i",
     "img", "ins", "kbd", "label", "mark", "meter", "nobr", "output", "picture", "progress", "q", "rb", "rtc", "ruby",
     "s", "samp", "slot", "small", "span", "strike", "strong", "sub", "sup", "time", "tspan", "tt", "u", "var", "wbr",
     "button", "input", "select", "rt", "rp", "math", "svg", "audio", "video", "canvas", "object", "embed", "g",
     "textpath", "switch", "foreignobject")
)  # fmt: skip
_SPACED = frozenset(("button", "input", "select", "label", "tspan", "svg", "math", "meter", "output", "progress"))
"""Inline elements that style sheets usually separate from their neighbours."""

MEDIA = frozenset(("audio", "video", "canvas", "object", "embed"))
PICTURES, FRAMES, CHOICES, READINGS = (
    "pictures",
    "embedded pages and media",
    "words of choices that a menu does not show",
    "words of readings above others (ruby)",
)
_BLOCK_STYLE = re.compile(r"display\s*:\s*(?:block|flex|grid|table|list-item)", re.IGNORECASE)
_APART_STYLE = re.compile(
    r"display\s*:\s*inline-(?:block|flex|grid|table)|float\s*:\s*(?:left|right)|position\s*:\s*(?:absolute|fixed)",
    re.IGNORECASE,
)
_ITEMS_STYLE = re.compile(r"display\s*:\s*(?:inline-)?(?:flex|grid)\b", re.IGNORECASE)
"""Styles of elements whose children are laid out as blocks."""

_NO_NUMBER = re.compile(r"list-style(?:-type)?\s*:[^;]*\bnone\b", re.IGNORECASE)
_CELLS = frozenset(("cell", "gridcell", "columnheader", "rowheader"))
_RAISED = re.compile(r"vertical-align\s*:\s*(super|sub)\b", re.IGNORECASE)
_NAME = re.compile("[A-Z][a-z]")
"""The start of a name directly after a date: `<span class=date>26.09.2019</span>Komoot`."""

_FILE_NAME = re.compile(r"\S+\.(?:jpe?g|png|gif|svg|webp|bmp|tiff?)|(?:img|dsc|image)[_ -]?\d+", re.IGNORECASE)


class Break(Enum):
    """A separator between words."""

    LINE = "line"
    """A `br` element."""
    BLOCK = "block"
    """The start or end of an element that is not inline."""


Piece = str | Break | Node
"""Text as in the source, a break, or an element that the caller lays out (a table, a heading, …)."""


def pieces(root: Node, omitted: Counter[str], apart: Callable[[Node], bool] = lambda node: False) -> Iterator[Piece]:
    """Yields the text and breaks of an element in order; elements for which `apart` is true are yielded whole.

    Writes superscripts and subscripts (see `readers.scripts`). Counts omitted parts in `omitted` by reason.
    """
    before = ""
    seam: Node | None = None
    raised = False
    numbers: dict[Node, dict[Node, int]] = {}  # ordered list -> the numbers of its items
    stack: list[Node | str | Break] = list(reversed(root.children))
    while stack:
        item = stack.pop()
        if isinstance(item, Break):
            before = ""
            yield item
        elif isinstance(item, str):
            dated = before[-1:].isdigit() and _NAME.match(item) and getattr(item, "front", None)
            if dated and dated.get("class"):
                yield " "
            item = item.replace("\xad", "")  # a soft hyphen is invisible within a line
            if seam is not None and item and _is_apart(seam, before[-1:], item[0]):
                yield " "
            if raised and item[:1].isdigit():
                yield " "  # a number must not merge with the subscript before it: `log<sub>10</sub>2`
            seam, raised = (seam, raised) if not item else (None, False)
            before = _ending(before + item)
            yield item
        elif item.out:
            omitted[item.out] += item.words
            omitted[FRAMES] += item.tag in MEDIA
            before = ""
            yield " " if item.tag in INLINE else Break.BLOCK
        elif write := _script(item):
            text = write(before[-1:] if _is_numerator(stack) else before, line(item, omitted))
            before, raised, seam = _ending(before + text), True, None
            yield text
        elif apart(item):
            before = ""
            yield item
        else:
            seam = item if item.previous is not None else seam
            stack += reversed(_expanded(item, numbers, omitted))


def _ending(text: str) -> str:
    """The last `_ENOUGH` characters of a text; white space at its end becomes one blank."""
    words = text.rstrip()
    return words[-_ENOUGH:] + " " * (len(words) < len(text))


_ENOUGH = 4


def _is_numerator(following: list[Node | str | Break]) -> bool:
    """Whether a superscript is a numerator: a slash and a subscript follow it, as in `<sup>1</sup>/<sub>2</sub>`."""
    stroke, below = (*following[-2:][::-1], "", "")[:2]
    return isinstance(stroke, str) and stroke.strip() in ("/", "⁄") and isinstance(below, Node) and below.tag == "sub"


def _script(node: Node) -> Callable[[str, str], str] | None:
    """The function that writes a superscript or subscript element; None for other elements."""
    if node.tag in ("sup", "sub"):
        return superscript if node.tag == "sup" else subscript
    raised = _RAISED.search(node.get("style")) if node.tag in INLINE else None
    return None if raised is None else superscript if raised[1].lower() == "super" else subscript


def _is_apart(node: Node, before: str, after: str) -> bool:
    """Whether style sheets probably put a gap between an inline element and the element before it.

    Two links are apart. So are `<span class=year>2022</span><span>5 mg</span>`: the second element begins with a digit
    or a capital, and one of the two has a class, is a link or is a `time`.

    Args:
        before: last character of the element before it.
        after: first character of the element.
    """
    front = node.previous
    if front is None or not (before.isalnum() and after.isalnum()) or {front.tag, node.tag} & {"sup", "sub", "rt"}:
        return False
    if front.tag == node.tag == "a":
        return True
    begins = after.isdigit() or (after.isupper() and not before.isupper())
    return begins and bool({front.tag, node.tag} & {"a", "time"} or front.get("class") or node.get("class"))


def _expanded(node: Node, numbers: dict[Node, dict[Node, int]], omitted: Counter[str]) -> list[Node | str | Break]:
    """The text, breaks and children to be read in place of an element."""
    tag = node.tag
    if tag in NEVER_SHOWN:
        return []
    if tag == "br":
        return [Break.LINE]
    if tag == "hr":
        return [Break.BLOCK]
    if tag == "img":
        return [" ", _alternative(node, omitted), " "]
    if tag == "input":
        return [" ", _value(node), " "]
    if tag == "select":
        return [" ", *_shown(node, omitted), " "]
    if tag in ("frame", "iframe") and not node.children:
        omitted[FRAMES] += 1
        return [Break.BLOCK]
    if tag == "math":
        return [" ", formula(node), " "]
    if tag == "svg":
        omitted[PICTURES] += 1
    if tag in ("rt", "rp"):
        omitted[READINGS] += node.words
        return []
    if tag == "li" and not _NO_NUMBER.search(node.get("style")) and (number := _number(node, numbers)):
        return [Break.BLOCK, f"{number}. ", *node.children, Break.BLOCK]
    if tag not in INLINE and ":" not in tag:
        return [Break.BLOCK, *node.children, Break.BLOCK]
    if node.get("style") and _BLOCK_STYLE.search(node.get("style")):
        return [Break.BLOCK, *node.children, Break.BLOCK]
    if node.get("role") in _CELLS or (node.parent is not None and _ITEMS_STYLE.search(node.parent.get("style"))):
        return [Break.BLOCK, *node.children, Break.BLOCK]
    if tag in _SPACED or _APART_STYLE.search(node.get("style")):
        return [" ", *node.children, " "]
    return [*node.children]


def _alternative(picture: Node, omitted: Counter[str]) -> str:
    """A picture's text alternative, such as a tick in a table. Counts the picture unless its `alt` is empty."""
    alternative = picture.get("alt").strip()
    if "alt" not in picture.attributes or alternative:
        omitted[PICTURES] += 1
    return "" if _FILE_NAME.fullmatch(alternative) else alternative


def _value(field: Node) -> str:
    """The visible value of an `input` element; "" if it shows none."""
    kind = field.get("type").lower()
    if kind in ("checkbox", "radio"):
        return "[x]" if "checked" in field.attributes else "[ ]"
    unseen = ("hidden", "submit", "button", "image", "reset", "password", "file", "color", "range")
    return "" if kind in unseen else field.get("value")


def _shown(menu: Node, omitted: Counter[str]) -> list[Node | str | Break]:
    """The options that a menu shows: the chosen ones of a drop-down list, all of a list box. Counts the others' words.

    Other content means that the `select` was never closed: all of its content is read.
    """
    options = [inner for inner in menu.descendants() if inner.tag == "option" and not inner.out]
    inside = [inner for inner in menu.descendants() if inner is not menu and inner.tag not in _OF_MENUS]
    if sum(option.letters for option in options) < menu.letters or any(node.tag not in INLINE for node in inside):
        return [Break.BLOCK, *menu.children, Break.BLOCK]
    shown = options
    if "multiple" not in menu.attributes and menu.get("size") in ("", "0", "1"):
        usable = [option for option in options if not _is_disabled(option)] or options
        shown = [option for option in options if "selected" in option.attributes] or usable[:1]
    chosen = set(shown)
    omitted[CHOICES] += sum(option.words for option in options if option not in chosen)
    return ["; ".join(" ".join("".join(option.texts()).split()) for option in shown)]


def _is_disabled(option: Node) -> bool:
    group = option.parent
    return "disabled" in option.attributes or (
        group is not None and group.tag == "optgroup" and "disabled" in group.attributes
    )


_OF_MENUS = frozenset(("option", "optgroup", "hr", "legend", "selectedcontent"))


def _number(item: Node, numbers: dict[Node, dict[Node, int]]) -> str:
    """The number that a browser shows before an item of an ordered list; "" for other items."""
    list_ = item.parent
    if list_ is None or list_.tag != "ol" or "none" in list_.get("style"):
        return ""
    if list_ not in numbers:
        numbers[list_] = _numbered(list_)
    number, kind = numbers[list_][item], list_.get("type")
    if kind in ("a", "A") and 1 <= number <= 26:
        return chr(ord(kind) + number - 1)
    return _roman(number, kind) if kind in ("i", "I") and 1 <= number < 40 else str(number)


def _numbered(list_: Node) -> dict[Node, int]:
    """Item -> its number, for the items of an ordered list."""
    items = [child for child in list_.children if isinstance(child, Node) and child.tag == "li"]
    step = -1 if "reversed" in list_.attributes else 1
    number = _integer(list_.get("start"), len(items) if step < 0 else 1) - step
    found: dict[Node, int] = {}
    for child in items:
        found[child] = number = _integer(child.get("value"), number + step)
    return found


def _integer(value: str, otherwise: int) -> int:
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else otherwise


def _roman(number: int, kind: str) -> str:
    ones = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
    text = "X" * (number // 10) + ones[number % 10]
    return text if kind == "I" else text.lower()


def line(node: Node, omitted: Counter[str], between: str = " ") -> str:
    """An element's text as one line; the text after a `br` follows a blank.

    `between` is written instead of the blank between blocks, and before a line that begins with a digit if an earlier
    line contains a digit.
    """
    parts: list[list[str]] = [[]]
    kinds: list[Break] = []
    for piece in pieces(node, omitted):
        if isinstance(piece, Break):
            parts.append([])
            kinds.append(piece)
        elif isinstance(piece, str):
            parts[-1].append(piece)
    text = ""
    kind, has_digit = Break.LINE, False
    for number, part in enumerate(parts):
        kind = Break.BLOCK if number and kinds[number - 1] is Break.BLOCK else kind
        words = " ".join("".join(part).split())
        if not words:
            continue
        numbers = kind is Break.BLOCK or (words[0].isdigit() and has_digit)
        text += (between if numbers else " ") * bool(text) + words
        kind, has_digit = Break.LINE, has_digit or any(map(str.isdigit, words))
    return text


def as_written(node: Node, omitted: Counter[str]) -> str:
    """An element's text with the source's spaces and line breaks."""
    parts = (piece if isinstance(piece, str) else "\n" for piece in pieces(node, omitted))
    return "\n".join(row.rstrip() for row in "".join(parts).replace("\xa0", " ").strip("\n").split("\n"))
