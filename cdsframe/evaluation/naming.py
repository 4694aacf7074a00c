"""Names runs by the settings in which they differ: "tuned, hybrid" and "base, closed-book".

Reads the `config.yaml` and `manifest.json` of each run. Knows no config groups except those in
`_WORDS` and `NO_NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsframe.artifacts.run import read_config, read_manifest
from cdsframe.errors import InputError

_WORDS = {
    ("retriever", "none"): "closed-book",
    ("retriever", "gold"): "gold passages",
    ("retriever", "random"): "random passages",
}
NO_NAME = {"name", "paths", "logger"}
"""Config groups and keys that names leave out, since they do not affect answers."""


@dataclass(frozen=True)
class Settings:
    """A run's configuration: the chosen option of each group, and every value by its config path."""

    choices: Mapping[str, str]
    values: Mapping[str, Any]


def read_settings(folder: Path) -> Settings:
    """Reads the settings of a finished run. Raises InputError if its files are damaged."""
    choices = read_manifest(folder, "run", "evaluate again")["choices"]
    if wrong := [group for group, choice in choices.items() if not isinstance(choice, str)]:
        raise InputError(
            f"run: {folder / 'manifest.json'} is damaged: choices.{wrong[0]} must be the name of an option; "
            "evaluate again"
        )
    _, config = read_config(folder, "run", "evaluate again")
    if not isinstance(config.get("adapter"), str | None):
        raise InputError(f"run: {folder / 'config.yaml'} is damaged: adapter must be a folder or null; evaluate again")
    return Settings(choices, dict(_flat(config)))


def name_runs(runs: Sequence[Settings], fallback: Sequence[str]) -> list[str]:
    """A unique name for each run: the adapter first, then the options and the single values that differ.

    "withholding" marks a run with a calibration, beside runs without.

    `fallback`: one text per run, appended to a name that several runs share, and used instead of an empty name.
    """
    groups = sorted({group for run in runs for group in run.choices} - NO_NAME)
    groups = [group for group in groups if len({run.choices.get(group) for run in runs}) > 1]
    paths = sorted({path for run in runs for path in run.values if path.split(".")[0] not in {*groups, *NO_NAME}})
    paths = [path for path in paths if len({repr(run.values.get(path)) for run in runs}) > 1]
    adapters = {run.values.get("adapter") for run in runs} - {None}
    names = []
    for run in runs:
        parts = [_adapter(run.values.get("adapter"), len(adapters))] if "adapter" in paths else []
        parts += [option_name(group, str(run.choices.get(group))) for group in groups]
        parts += ["withholding"] if "calibration" in paths and run.values.get("calibration") else []
        parts += [f"{path}={run.values.get(path)}" for path in paths if path not in ("adapter", "calibration")]
        names.append(", ".join(parts))
    return [
        name if name and names.count(name) == 1 else f"{name} ({other})" if name else other
        for name, other in zip(names, fallback, strict=True)
    ]


def _adapter(folder: str | None, how_many: int) -> str:
    if folder is None:
        return "base"
    return "tuned" if how_many == 1 else Path(folder).name


def option_name(group: str, choice: str) -> str:
    """The name of a group's option: its own, "no reranker", or a word such as "closed-book"."""
    return _WORDS.get((group, choice), f"no {group}" if choice == "none" else choice)


def _flat(node: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        return [pair for key, value in node.items() for pair in _flat(value, f"{path}.{key}" if path else str(key))]
    return [(path, node)]
