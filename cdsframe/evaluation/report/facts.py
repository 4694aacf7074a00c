"""The facts of a run that its report shows: what is needed to repeat it. Leaves out times: equal runs are equal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cdsframe.errors import InputError
from cdsframe.types import JsonObject

_NO_CHOICE = ("paths", "experiment", "evaluation")
_NO_FACT = (
    "digests", "format_version", "seconds", "started", "cpu_seconds", "peak_mib", "answering_cpu_seconds",
    "read_from_cache", "scored",
)  # fmt: skip
OVERRIDES = Path(".hydra", "overrides.yaml")
"""The file of a run's folder in which Hydra wrote the overrides of its command."""


def facts_of(manifest: Mapping[str, Any], folder: Path, name: str, adapter: str | None) -> JsonObject:
    """The facts of a run.

    Args:
        manifest: the run's manifest.
        folder: the run's folder, in which Hydra wrote the overrides of its command.
        name: of the run.
        adapter: folder of the adapter; None: the base model.

    Raises InputError if Hydra's file is damaged.
    """
    facts = {key: value for key, value in manifest.items() if key not in _NO_FACT}
    choices = {group: choice for group, choice in manifest["choices"].items() if group not in _NO_CHOICE}
    facts |= {"choices": choices, "digests": manifest["digests"], "name": name, "adapter": adapter}
    command = _command(folder, str(manifest["task"]))
    return facts | ({"command": command} if command else {})


def _command(folder: Path, task: str) -> str | None:
    """The command that started the run; None if Hydra wrote no overrides."""
    file = folder / OVERRIDES
    if not file.is_file():
        return None
    try:
        overrides = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):
        overrides = ""
    if overrides is None:
        overrides = []
    if not isinstance(overrides, list):
        raise InputError(f"{file} is damaged: expected a YAML list of overrides; delete the file, or evaluate again")
    return shlex.join(["python", f"{task}.py", *map(str, overrides)])
