"""Writes MathML as plain text without changing its meaning. Does not lay formulas out in two dimensions."""

from __future__ import annotations

import re

from cdsframe.corpus.readers.html.tree import NEVER_SHOWN, Node


def formula(node: Node, depth: int = 0) -> str:
    """Writes MathML on one line: `10^9`, `x_1`, `(a + b)/c`."""
    if node.tag in NEVER_SHOWN or depth > 50:
        return "" if node.tag in NEVER_SHOWN else " ".join("".join(node.texts()).split())
    inner = [formula(child, depth + 1) for child in node.children if isinstance(child, Node)]
    if node.tag == "semantics":
        return inner[0] if inner else ""
    if node.tag in ("msup", "msub", "mfrac", "mroot", "msubsup") and len(inner) >= 2:
        first, second, *rest = (part if _is_simple(part) else f"({part})" for part in inner)
        if node.tag == "mroot":
            return f"root({inner[0]}, {inner[1]})"
        sign = {"msup": "^", "mfrac": "/"}.get(node.tag, "_")
        return f"{first}{sign}{second}" + "".join(f"^{part}" for part in rest)
    if node.tag == "msqrt":
        return f"sqrt({' '.join(filter(None, inner))})"
    text = " ".join("".join(child for child in node.children if isinstance(child, str)).split())
    between = "; " if node.tag == "mtable" else " "
    joined = text
    for part in filter(None, inner):
        apart = between == "; " or node.tag in ("mtr", "mover", "munder", "munderover")
        glued = joined[-1:].isdigit() and part[0].isalnum()
        joined += (between if joined and (apart or glued) else "") + part
    return joined


def _is_simple(part: str) -> bool:
    return bool(re.fullmatch(r"[-−+]?[\w.,]+", part))
