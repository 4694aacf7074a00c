"""The facts of a run and its system for the report. Reads no file."""

from __future__ import annotations

from cdsframe.artifacts.run import Run
from cdsframe.contracts import System
from cdsframe.types import JsonObject

_NO_CHOICE = ("paths", "experiment", "evaluation")
_NO_FACT = ("digests", "format_version", "seconds", "started")


def facts_of(run: Run, system: System) -> JsonObject:
    """The facts that are known before the run ends, without times. The digests come with the run's manifest."""
    facts = {name: value for name, value in run.manifest().items() if name not in _NO_FACT}
    facts["choices"] = {group: choice for group, choice in run.choices.items() if group not in _NO_CHOICE}
    return {**facts, "name": system.name, "adapter": system.adapter}
