"""Marks the parts of a page that are not its text: hidden parts, struck-out parts, and page furniture such as
navigation.

Uses elements, ARIA roles, common class names of page furniture, and lists of links. The size of a part is its number of
visible characters. The largest container of text is never page furniture. If the rules for page furniture would omit
most of the prose, fewer of them are applied.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from cdsframe.corpus.readers.html.tables import is_data, parts_of
from cdsframe.corpus.readers.html.tree import NEVER_SHOWN, Node

HIDDEN, STRUCK, AROUND = (
    "hidden words",
    "struck-out words",
    "words around the text (navigation, headers, footers, side columns, buttons)",
)
_LEAST_PROSE = 0.5
"""Share of a page's prose (characters outside links): if the rules for furniture keep less, fewer are applied."""

_MANY_LINKS = 4
_LEAD = 80
"""Characters outside links: a `header` element with a paragraph of at least this length is text, not furniture."""

_NOT_SHOWN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.IGNORECASE)
_LINE_THROUGH = re.compile(r"text-decoration[a-z-]*\s*:[^;]*line-through", re.IGNORECASE)
_FALLBACK = frozenset(("template", "noscript", "audio", "video", "canvas", "object", "embed"))
"""Elements whose content is a template, or a fallback for browsers without support for them."""

_OPENS = re.compile(r"tab|accordi|collaps|panel|expand|toggle|spoiler|slide|carousel", re.IGNORECASE)
"""Ids, classes and roles of parts that open on a click; they do not count as hidden."""

_ROLES = frozenset(
    ("navigation", "banner", "contentinfo", "complementary", "search", "dialog", "alertdialog", "menu", "menubar")
)
_TAGS = frozenset(("nav", "aside", "header", "footer"))
_NAMES = re.compile(
    r"(?:\w+[_-])?(?:cookies?|gdpr|onetrust|breadcrumbs?|skip-?(?:link|nav|to-content)|nav|navbar|navigation|menu|"
    r"sidebar|site-?(?:header|footer)|page-?footer|footer|social|share|sharing|newsletter|related|comments|"
    r"back-to-top)(?:[_-](?:links?|list|bar|buttons?|banner|notice|consent|left|right|wrapper|container|content|inner))*",
    re.IGNORECASE,
)
"""Ids and classes of page furniture."""

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6", "summary", "legend")
_WHOLE = frozenset(("html", "body", "main", "article", "p", "td", "th", "tr", "tbody", "table", "h1"))
"""Elements that class names and lists of links never mark as furniture."""

_Rule = Callable[[Node], bool]


def mark(root: Node) -> None:
    """Sets `out` of the omitted elements, and subtracts their characters from their ancestors' counts."""
    whole = root.letters
    hidden = _omit(root, HIDDEN, _hidden_rule(root), whole / 2)
    if root.letters < whole / 2:
        _restore(hidden)  # most of the page is hidden in the source, and scripts show it
    _omit(root, STRUCK, _is_struck, root.letters + 1)
    _protect(root)
    prose = root.letters - root.linked
    for rules in ((_by_tag, _by_name, _by_links), (_by_tag, _by_name), (_by_tag,), ()):
        marked = _omit(root, AROUND, _any_of(rules), root.letters / 2)
        if (root.letters - root.linked >= _LEAST_PROSE * prose and root.letters) or not rules:
            break
        _restore(marked)
    _only_main(root)
    _omit(root, AROUND, _is_button, root.letters / 2)


def _any_of(rules: tuple[_Rule, ...]) -> _Rule:
    return lambda node: any(rule(node) for rule in rules)


def _omit(root: Node, reason: str, rule: _Rule, limit: float) -> list[Node]:
    """Omits the outermost elements that match the rule and have fewer characters than the limit. Returns them."""
    marked: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if node.out or node.tag in NEVER_SHOWN:
            continue
        if node is not root and rule(node) and node.letters < limit:
            _drop(node, reason)
            marked.append(node)
        else:
            stack += [child for child in reversed(node.children) if isinstance(child, Node)]
    return marked


def _drop(node: Node, reason: str) -> None:
    node.out = reason
    for outer in node.ancestors():
        outer.letters -= node.letters
        outer.linked -= node.linked


def _restore(marked: list[Node]) -> None:
    for node in marked:
        node.out = None
        for outer in node.ancestors():
            outer.letters += node.letters
            outer.linked += node.linked


def _hidden_rule(root: Node) -> _Rule:
    """Returns a rule that is true for elements that the browser does not show and that no click opens."""
    opened = set()
    with_formula, formulas = _formulas(root)
    for node in root.descendants():
        for name in ("aria-controls", "data-target", "data-bs-target", "href"):
            value = node.get(name)
            if value and (name == "aria-controls" or value.startswith("#")):
                opened.update(value.lstrip("#").split())

    def rule(node: Node) -> bool:
        if node.tag in _FALLBACK:
            return True
        if node.tag == "dialog":
            return "open" not in node.attributes
        if node.get("aria-hidden") == "true" and node.parent and formulas[node.parent] > (node in with_formula):
            return True  # it repeats the formula of a sibling
        hidden = "hidden" in node.attributes and node.get("hidden") != "until-found"
        if not hidden and not _NOT_SHOWN.search(node.get("style")):
            return False
        names = f"{node.get('id')} {node.get('class')} {node.get('role')}"
        return not (node.get("id") in opened or _OPENS.search(names))

    return rule


def _formulas(root: Node) -> tuple[set[Node], Counter[Node]]:
    """The elements that are or contain a formula, and for each element how many of its children are in that set."""
    found: set[Node] = set()
    children: Counter[Node] = Counter()
    for node in root.descendants():
        inner: Node | None = node if node.tag == "math" else None
        while inner is not None and inner not in found:
            found.add(inner)
            if inner.parent is not None:
                children[inner.parent] += 1
            inner = inner.parent
    return found, children


def _is_struck(node: Node) -> bool:
    return node.tag in ("s", "strike", "del") or bool(_LINE_THROUGH.search(node.get("style")))


def _protect(root: Node) -> None:
    """Protects elements from being omitted (`kept`): the largest container of text, the page's only `h1`, the
    ancestors of both, and the parts of data tables.

    Parts of layout tables are not protected: a cell may hold navigation.
    """
    for table in _shown(root):
        named = [part for part in parts_of(table) if part.attributes] if table.tag == "table" else []
        if named and is_data(table):
            for part in named:
                part.kept = True
    own: dict[Node, int] = {}
    best, most = root, 0
    for node in reversed(list(root.descendants())):
        if node.out or node.tag in NEVER_SHOWN or node.parent is None:
            continue
        prose = own.get(node, 0) + sum(len(child) for child in node.children if isinstance(child, str))
        if node.tag in _PARAGRAPHS or not prose or node.tag not in _CONTAINERS:
            if node.tag != "a":
                own[node.parent] = own.get(node.parent, 0) + prose
        elif prose > most:
            best, most = node, prose
    heads = [node for node in _shown(root) if node.tag == "h1"]
    for inner in (best, *(heads if len(heads) == 1 else ())):
        for node in (inner, *inner.ancestors()):
            node.kept = True


_PARAGRAPHS = frozenset(("p", "li", "ul", "ol", "dl", "dd", "dt", "blockquote", "pre", "tr", "td", "th", "tbody"))
_CONTAINERS = frozenset(
    ("div", "section", "article", "main", "aside", "header", "footer", "nav", "form", "body", "table", "center",
     "details", "fieldset", "noscript", "template", "figure")
)  # fmt: skip


def _has(node: Node, tags: tuple[str, ...]) -> bool:
    return any(inner.tag in tags for inner in _shown(node))


def _by_tag(node: Node) -> bool:
    if node.kept:
        return False
    if node.tag in _TAGS or node.get("role") in _ROLES:
        inside = any(outer.tag in ("main", "article", "section") for outer in node.ancestors())
        if node.tag == "header" and any(inner.tag == "p" and _prose(inner) >= _LEAD for inner in _shown(node)):
            return False
        return node.tag == "nav" or node.get("role") in _ROLES or not inside
    return node.tag == "form" and not _has(node, ("h1", "h2", "p", "table", "main", "input", "textarea", "label"))


def _prose(node: Node) -> int:
    return node.letters - node.linked


def _by_name(node: Node) -> bool:
    if node.kept or node.tag in _WHOLE or not node.attributes:
        return False
    names = f"{node.get('id')} {node.get('class')}".split()
    return any(map(_NAMES.fullmatch, names)) and not _has(node, ("main", "article", "h1"))


def _by_links(node: Node) -> bool:
    """Whether the element is a list of links, which is navigation regardless of its name."""
    if node.tag not in ("ul", "ol", "div", "section") or not node.linked > 0.8 * node.letters or node.kept:
        return False
    links = sum(inner.tag == "a" for inner in node.descendants())
    return links >= _MANY_LINKS and not _has(node, ("main", "article", "h1"))


def _only_main(root: Node) -> None:
    """Omits everything outside `main` if `main` holds at least half of the page's characters.

    If `main` has no `h1`, an `h1` outside it is kept.
    """
    mains = [node for node in _shown(root) if node.tag == "main" or node.get("role") == "main"]
    every = set(mains)
    outer = [node for node in mains if every.isdisjoint(node.ancestors())]
    if not outer or sum(node.letters for node in outer) < root.letters / 2:
        return
    outermost = set(outer)
    kept = {*outer, *(around for node in outer for around in node.ancestors())}
    titled = any(_has(node, ("h1",)) for node in outer)
    stack = [root]
    while stack:
        for node in stack.pop().children:
            if not isinstance(node, Node) or node.out or node in outermost or node.tag in NEVER_SHOWN:
                continue
            if node in kept or (not titled and node.tag != "h1" and _has(node, ("h1",))):
                stack.append(node)
            elif titled or node.tag != "h1":
                _drop(node, AROUND)


def _shown(root: Node) -> Iterator[Node]:
    """Yields an element and the elements inside it that are not omitted."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += [child for child in reversed(node.children) if isinstance(child, Node) and not child.out]


def _is_button(node: Node) -> bool:
    """Whether the element is a button, but not one in a heading or one that unfolds a section of the page."""
    if node.tag != "button" or node.get("aria-controls") or "aria-expanded" in node.attributes:
        return False
    return not any(outer.tag in _HEADINGS for outer in node.ancestors())
