"""The facts of a run and its system for the report. Reads no file."""

from __future__ import annotations

from cdsframe.artifacts.run import Run
from cdsframe.contracts import System
from cdsframe.types import JsonObject

_NO_CHOICE = ("paths", "experiment", "evaluation")


def facts_of(run: Run, system: System) -> JsonObject:
    """The facts that are known before the run ends. The digests come with its manifest."""
    choices = {group: choice for group, choice in run.choices.items() if group not in _NO_CHOICE}
    return {"name": system.name, "adapter": system.adapter, "choices": choices, "seed": run.seed}
