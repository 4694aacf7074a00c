"""Builds a web page's tree as browsers do (lexbor), and counts the characters below each element.

Does not decide which elements belong to the page's text (see `around`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

NEVER_SHOWN = frozenset(
    ("script", "style", "head", "meta", "link", "base", "col", "param", "source", "track", "annotation",
     "annotation-xml", "datalist", "area", "map", "noframes", "noembed", "title", "desc", "defs", "symbol", "metadata",
     "mphantom", "basefont", "bgsound")
)  # fmt: skip
"""Elements that no browser shows; their content is not counted."""


_WORD = re.compile(r"\w+")
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_LONGEST_HEADING = 200
"""Characters: a longer heading was never closed; it ends before the first block element inside it."""

_BLOCKS = frozenset(
    ("p", "div", "ul", "ol", "dl", "table", "section", "article", "blockquote", "pre", "main", "form", *HEADINGS)
)


class Node:
    """An element. `children`: its child elements and texts in order.

    `letters` is the number of visible characters inside it, without white space; `linked` is how many of those are
    inside links.
    """

    __slots__ = ("attributes", "children", "kept", "letters", "linked", "out", "parent", "previous", "tag")

    def __init__(self, tag: str, attributes: dict[str, str], parent: Node | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Node | str] = []
        self.letters = self.linked = 0
        last = parent.children[-1] if parent is not None and parent.children else None
        self.previous = last if isinstance(last, Node) else None
        """The element that ends exactly where this one begins, without white space or text between them; else None."""
        self.kept = False
        """Whether the element is protected: its tag, class names or links must not mark it as page furniture."""
        self.out: str | None = None
        """The reason for omitting the element; None or empty if it is read."""

    def get(self, name: str) -> str:
        """An attribute's value; "" if it is missing."""
        return self.attributes.get(name, "")

    def descendants(self) -> Iterator[Node]:
        """This element and all elements below it, in source order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack += [child for child in reversed(node.children) if isinstance(child, Node)]

    def ancestors(self) -> Iterator[Node]:
        """The enclosing elements, innermost first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def texts(self) -> Iterator[str]:
        """Yields the texts inside the element in order. Skips only elements that no browser shows."""
        stack: list[Node | str] = [self]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                yield item
            elif item.tag not in NEVER_SHOWN or item is self:
                stack += reversed(item.children)

    @property
    def words(self) -> int:
        """The number of words in `texts`. A soft hyphen does not divide a word."""
        return len(_WORD.findall(" ".join(self.texts()).replace("\xad", "")))


class Following(str):
    """A text of the tree. `front` is the element that ends where the text begins; missing if no element ends there."""

    __slots__ = ("front",)
    front: Node


def tree_of(text: str) -> Node:
    """Parses a page. Returns its root element; the tree includes `iframe srcdoc` documents and `template` content."""
    root = _tree(text, frames=3)
    _count(root)
    _end_headings(root)
    return root


def _end_headings(root: Node) -> None:
    """Ends an unclosed heading before the first block inside it: moves that block and the rest behind the heading."""
    for node in list(root.descendants()):
        if node.tag not in HEADINGS or node.letters <= _LONGEST_HEADING or node.parent is None:
            continue
        inner = (number for number, child in enumerate(node.children) if isinstance(child, Node))
        first = next((number for number in inner if _holds_block(node.children[number])), None)
        if first is None:
            continue
        moved, node.children = node.children[first:], node.children[:first]
        place = node.parent.children.index(node) + 1
        node.parent.children[place:place] = moved
        for child in moved:
            if isinstance(child, Node):
                child.parent = node.parent
                node.letters -= child.letters
                node.linked -= child.linked
            else:
                node.letters -= len("".join(child.split()))


def _holds_block(node: Node | str) -> bool:
    return isinstance(node, Node) and any(inner.tag in _BLOCKS for inner in node.descendants())


def _tree(text: str, frames: int) -> Node:
    from selectolax.lexbor import LexborHTMLParser

    parser = LexborHTMLParser(text)
    root = Node("html", {}, None)
    stack: list[tuple[Any, Node]] = []
    if parser.root is not None:
        stack.append((parser.root.child, root))
    while stack:
        item, parent = stack.pop()
        while item is not None:
            if item.is_text_node:
                text = Following(item.text_content or "")
                if parent.children and isinstance(front := parent.children[-1], Node):
                    text.front = front
                parent.children.append(text)
            elif item.is_element_node:
                node = Node(item.tag or "", {name: value or "" for name, value in item.attributes.items()}, parent)
                parent.children.append(node)
                inner = item.child
                if node.tag == "template":
                    inner = next((fragment.child for fragment in item.template_fragments()), None)
                elif node.tag == "iframe":
                    inner = None
                    if frames and node.get("srcdoc"):
                        _adopt(node, _tree(node.get("srcdoc"), frames - 1))
                if inner is not None:
                    stack.append((item.next, parent))
                    item, parent = inner, node
                    continue
            item = item.next
    return root


def _adopt(frame: Node, page: Node) -> None:
    frame.children = page.children
    for child in page.children:
        if isinstance(child, Node):
            child.parent = frame


def _count(root: Node) -> None:
    """Sets two counts of every element: `letters`, its characters without white space; `linked`, those inside links."""
    for node in reversed(list(root.descendants())):
        if node.tag in NEVER_SHOWN:
            node.letters = node.linked = 0
            continue
        for child in node.children:
            if isinstance(child, str):
                node.letters += len("".join(child.split()))
            else:
                node.letters += child.letters
                node.linked += child.linked
        if node.tag == "a":
            node.linked = node.letters
