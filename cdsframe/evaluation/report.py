"""Writes the HTML report of a run: a single self-contained file with interval plots and example answers.

Escapes all data. The report contains questions and answers: it must not leave the user's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cdsframe.artifacts.files import write_text
from cdsframe.artifacts.run import Run
from cdsframe.contracts import System
from cdsframe.types import JsonObject, Metrics

_EXAMPLES = 25
"""Maximum number of examples of each kind."""
_UNTOLD = ("paths", "experiment", "evaluation")


def write_report(run: Run, system: System, metrics: Metrics, rows: Sequence[JsonObject]) -> None:
    """Writes `report.html` into the run's folder."""
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = page.from_string(template).render(
        name=system.name,
        choices={group: choice for group, choice in sorted(run.choices.items()) if group not in _UNTOLD},
        adapter=system.adapter or "none (the base model)",
        metrics=_lines(metrics),
        examples=_examples(rows),
    )
    write_text(run.folder / "report.html", text)


def _lines(metrics: Metrics) -> list[dict[str, Any]]:
    """One entry per metric, with the bounds of its interval, or None for a metric without interval."""
    found = []
    for name, value in metrics.items():
        if name.endswith(("/ci_low", "/ci_high")):
            continue
        low, high = metrics.get(f"{name}/ci_low"), metrics.get(f"{name}/ci_high")
        found.append({"name": name, "value": value, "low": low, "high": high})
    return found


def _examples(rows: Sequence[JsonObject]) -> list[tuple[str, int, list[JsonObject]]]:
    """`(kind, count, first rows)` for each kind of answer, the worst first. A row is in the first kind that fits."""
    kinds = {
        "Wrong dose: a quantity that the gold answer does not have": lambda row: row["wrong_dose"],
        "Answered, though the documents do not say": lambda row: not row["answerable"] and not row["refused"],
        "Refused, though the documents say": lambda row: row["answerable"] and row["refused"],
        "Otherwise wrong (F1 below .5)": lambda row: row["answerable"] and not row["refused"] and row["f1"] < 0.5,
        "Right or partly right": lambda row: True,
    }
    left = list(rows)
    found = []
    for kind, belongs in kinds.items():
        own = [row for row in left if belongs(row)]
        left = [row for row in left if not belongs(row)]
        found.append((kind, len(own), own[:_EXAMPLES]))
    return found
