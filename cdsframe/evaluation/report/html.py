"""Writes a report as one HTML file, without scripts, and without addresses of other files or places."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cdsframe.evaluation.report.blocks import (
    ReportBlock,
    ReportCase,
    ReportCode,
    ReportPage,
    ReportPlot,
    ReportSection,
    ReportTable,
    ReportText,
)

if TYPE_CHECKING:
    from jinja2 import Template

_KINDS = {ReportText: "text", ReportCode: "code", ReportTable: "table", ReportPlot: "plot", ReportCase: "case"}
_BESIDE = 7
"""Most columns of a table beside a plot."""


def to_html(page: ReportPage) -> str:
    """The page as HTML. All texts are escaped; the content security policy permits this page's styles only."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(
        page=page, style=style, digest=digest, kind=lambda block: _KINDS[type(block)], grouped=grouped
    )


def grouped(section: ReportSection) -> list[list[ReportBlock]]:
    """Groups of blocks that stand side by side where there is room: plots, and the table after them if it is narrow."""
    groups: list[list[ReportBlock]] = []
    for block in section.blocks:
        narrow = isinstance(block, ReportPlot) or (isinstance(block, ReportTable) and len(block.columns) <= _BESIDE)
        if groups and isinstance(groups[-1][-1], ReportPlot) and narrow:
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    text = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text)
