"""Writes a report as Markdown (GitHub's dialect, CommonMark elsewhere). Omits plots, whose figures the tables hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cdsframe.evaluation.report.blocks import (
    ReportBlock,
    ReportCase,
    ReportCode,
    ReportPage,
    ReportTable,
    ReportText,
)

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~$#@])")
_LINK = re.compile(r"(?i)\b(https?|ftp|mailto)(:)|\b(www)(\.)")


def to_markdown(page: ReportPage) -> str:
    """The page as Markdown. All texts are escaped: no character of a question is markup or a link."""
    lines = [f"# {escaped(page.title)}", "", *(f"{escaped(line)}  " for line in page.under), ""]
    for section in page.sections:
        lines += [f"## {escaped(section.title)}", "", f"*{escaped(section.reading)}*", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def escaped(text: str) -> str:
    """The text on one line, with a backslash before each character that Markdown or HTML could read as markup."""
    flat = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return _LINK.sub(lambda found: f"{found[1] or found[3]}\\{found[2] or found[4]}", flat)


def _block(block: ReportBlock) -> list[str]:
    if isinstance(block, ReportText):
        return [f"**{escaped(block.strong)}** {escaped(block.text)}" if block.strong else escaped(block.text)]
    if isinstance(block, ReportCode):
        longest = max((len(run) for run in re.findall("`+", block.text)), default=0)
        fence = "`" * max(3, longest + 1)
        return [fence, *block.text.splitlines(), fence]
    if isinstance(block, ReportTable):
        return _table(block)
    if isinstance(block, ReportCase):
        return _case(block)
    return []


def _table(table: ReportTable) -> list[str]:
    rules = ["---" if place < table.left else "---:" for place in range(len(table.columns))]
    return [f"**{escaped(table.caption)}**", "", _row(table.columns), f"|{'|'.join(rules)}|", *map(_row, table.rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def _case(case: ReportCase) -> list[str]:
    lines = [f"### {escaped(case.title)}", "", f"- **{escaped(case.kind)}**"]
    lines += [f"- {escaped(name)}: {escaped(text)}" for name, text in case.lines]
    for passage in case.passages:
        lines += ["", f"> **{escaped(passage.heading)}** ({escaped(', '.join(passage.marks))})"]
        lines += [">", f"> {_first(escaped(passage.text))}"] if passage.text.strip() else []
    return lines


def _first(text: str) -> str:
    """Escapes what begins a list or a rule at the beginning of a line."""
    return re.sub(r"^(\d+)([.)])|^([-+=])", lambda found: f"{found[1] or ''}\\{found[2] or found[3]}", text)
