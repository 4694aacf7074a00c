"""Makes the report of a run from its predictions, metrics and facts. Needs no model and no index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cdsframe.artifacts.files import write_text
from cdsframe.evaluation.report.blocks import ReportPage
from cdsframe.evaluation.report.cases import cases
from cdsframe.evaluation.report.details import confidence, cost, retrieval
from cdsframe.evaluation.report.errors import errors
from cdsframe.evaluation.report.html import to_html
from cdsframe.evaluation.report.markdown import to_markdown
from cdsframe.evaluation.report.measures import measures, summary
from cdsframe.evaluation.report.outcomes import outcomes
from cdsframe.evaluation.report.repeat import repeat
from cdsframe.types import JsonObject, Metrics


def write_report(folder: Path, rows: Sequence[JsonObject], metrics: Metrics, facts: JsonObject) -> None:
    """Writes `report.html` and `report.md` into the folder. Equal inputs give equal files.

    Args:
        rows: of `predictions.jsonl` of `evaluation=qa`.
        metrics: of `metrics.json`.
        facts: what is needed to repeat the run: `name`, `command`, `adapter`, `choices`, `digests`, `versions`,
            `commit`, … Each may be missing, and others are shown too. `top_k`: number of passages retrieved for an
            answer.
    """
    page = run_page(rows, metrics, facts)
    write_text(folder / "report.html", to_html(page))
    write_text(folder / "report.md", to_markdown(page))


def run_page(rows: Sequence[JsonObject], metrics: Metrics, facts: JsonObject) -> ReportPage:
    """The report of a run."""
    kinds = outcomes(rows, facts.get("top_k"))
    choices = facts.get("choices")
    under = []
    if isinstance(choices, Mapping) and choices:
        under.append(", ".join(f"{group}={choice}" for group, choice in sorted(choices.items())))
    under.append(f"adapter: {facts.get('adapter') or 'none (the base model)'}")
    sections = (
        summary(rows, kinds, metrics),
        measures(metrics),
        errors(rows, kinds),
        retrieval(rows),
        confidence(rows),
        cost(rows),
        cases(rows, kinds),
        repeat(facts),
    )
    return ReportPage(f"{facts.get('name') or 'Run'}: evaluation", under, sections)
