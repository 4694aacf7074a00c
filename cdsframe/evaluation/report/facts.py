"""The facts of a run that its report shows: what is needed to repeat it. Leaves out times: equal runs are equal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cdsframe.types import JsonObject

_NO_CHOICE = ("paths", "experiment", "evaluation")
_NO_FACT = ("digests", "format_version", "seconds", "started", "cpu_seconds", "peak_mib",
            "answering_cpu_seconds", "read_from_cache")  # fmt: skip
_OVERRIDES = Path(".hydra", "overrides.yaml")


def facts_of(manifest: Mapping[str, Any], folder: Path, name: str, adapter: str | None) -> JsonObject:
    """The facts of a run.

    Args:
        manifest: the run's manifest.
        folder: the run's folder, in which Hydra wrote the overrides of its command.
        name: of the run.
        adapter: folder of the adapter; None: the base model.
    """
    facts = {key: value for key, value in manifest.items() if key not in _NO_FACT}
    choices = {group: choice for group, choice in manifest["choices"].items() if group not in _NO_CHOICE}
    facts |= {"choices": choices, "digests": manifest["digests"], "name": name, "adapter": adapter}
    command = _command(folder, str(manifest["task"]))
    return facts | ({"command": command} if command else {})


def _command(folder: Path, task: str) -> str | None:
    """The command that started the run; None if Hydra wrote no overrides."""
    file = folder / _OVERRIDES
    if not file.is_file():
        return None
    overrides = yaml.safe_load(file.read_text(encoding="utf-8")) or []
    return shlex.join(["python", f"{task}.py", *map(str, overrides)])
