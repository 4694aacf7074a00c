"""Writes a report as one HTML file, without scripts, and without addresses of other files or places."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cdsframe.evaluation.report.blocks import (
    ReportCase,
    ReportCode,
    ReportPage,
    ReportPlot,
    ReportTable,
    ReportText,
)

if TYPE_CHECKING:
    from jinja2 import Template

_KINDS = {ReportText: "text", ReportCode: "code", ReportTable: "table", ReportPlot: "plot", ReportCase: "case"}


def to_html(page: ReportPage) -> str:
    """The page as HTML. All texts are escaped; the content security policy permits this page's styles only."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(page=page, style=style, digest=digest, kind=lambda block: _KINDS[type(block)])


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    text = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text)
