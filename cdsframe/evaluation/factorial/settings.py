"""Finds the settings in which finished runs differ, and names each run's level of them. Does not choose the factors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsframe.artifacts.run import read_manifest
from cdsframe.evaluation.finished_run import FinishedRun
from cdsframe.evaluation.naming import NO_NAME, Settings, option_name, read_settings
from cdsframe.types import JsonObject

_NO_FACTOR = {
    *NO_NAME,
    "seed",
    "own_process",
    "evaluation.cache",
    "evaluation.batch_tokens",
    "generator.batch_size",
    "generator.batch_tokens",
}
"""Groups and paths that are not factors: they do not affect answers, or are replicates."""
RETRIEVAL = {"corpus", "chunking", "index", "embedder", "expansion", "fusion", "reranker", "context"}
"""Groups without effect if no passages are retrieved."""
_FIRST = {"adapter": 0, "retriever": 1, "reranker": 2}
"""The order of the factors; others follow by name."""


@dataclass(frozen=True)
class EvaluatedRun:
    """A finished run with its settings and its manifest."""

    results: FinishedRun
    settings: Settings
    manifest: JsonObject

    @classmethod
    def read(cls, folder: Path) -> EvaluatedRun:
        """Reads a run's folder. Raises InputError if a file is missing or damaged."""
        return cls(FinishedRun.read(folder), read_settings(folder), read_manifest(folder, "run"))

    @property
    def adapter(self) -> str | None:
        """The adapter's folder as the configuration names it; None: the base model."""
        folder: str | None = self.settings.values.get("adapter")
        return folder

    @property
    def replicate(self) -> str:
        """What is repeated over seeds: the adapter, by its weights' digest, or the base model's run, by its seed."""
        digest = self.manifest.get("digests", {}).get("adapter")
        return str(digest or self.adapter or f"seed={self.settings.values.get('seed')}")

    @property
    def closed_book(self) -> bool:
        """Whether nothing is retrieved."""
        return self.settings.choices.get("retriever") == "none"


def differing(runs: Sequence[EvaluatedRun]) -> list[str]:
    """The settings in which the runs differ: groups, and config paths that differ under one option of their group."""
    settings = [run.settings for run in runs]
    groups = {group for one in settings for group in one.choices} - _NO_FACTOR
    found = [group for group in groups if len({one.choices.get(group) for one in settings}) > 1]
    paths = {path for one in settings for path in one.values if not {path, path.split(".")[0]} & _NO_FACTOR}
    found += [path for path in paths if path not in found and _varies(path, settings)]
    return sorted(found, key=lambda setting: (_FIRST.get(setting, len(_FIRST)), setting))


def _varies(path: str, settings: Sequence[Settings]) -> bool:
    by_option: dict[Any, set[str]] = {}
    for one in settings:
        if path in one.values:
            by_option.setdefault(one.choices.get(path.split(".")[0]), set()).add(_value(path, one))
    return any(len(values) > 1 for values in by_option.values())


def _value(path: str, settings: Settings) -> str:
    value = settings.values[path]
    return str(bool(value)) if path == "calibration" else repr(value)


@dataclass(frozen=True)
class Levels:
    """Names the level of a setting that a run has.

    Attributes:
        adapters: folder of an adapter -> name of its level.
        inert: whether settings of retrieval have no level in closed-book runs.
    """

    adapters: Mapping[str, str]
    inert: bool

    def of(self, run: EvaluatedRun, setting: str) -> str | None:
        """The level's name; None if the setting has no effect in this run, which then stands for every level."""
        settings, group = run.settings, setting.split(".")[0]
        if setting == "adapter":
            return "base" if run.adapter is None else self.adapters[run.adapter]
        if self.inert and run.closed_book and group in RETRIEVAL:
            return None
        if setting == "calibration":
            return "withholding" if settings.values.get(setting) else "no withholding"
        if setting in settings.choices:
            return option_name(setting, settings.choices[setting])
        if setting in settings.values:
            return f"{setting}={settings.values[setting]}"
        return None if "." in setting else option_name(setting, "none")

    def override(self, run: EvaluatedRun, setting: str) -> str:
        """The argument of the command line that gives a run this setting."""
        if setting in run.settings.choices:
            return f"{setting}={run.settings.choices[setting]}"
        value = run.settings.values.get(setting)
        return f"{setting}={'null' if value is None else value}"


def usual_order(level: str) -> tuple[bool, list[tuple[int, float, str]]]:
    """Sorts levels, the usual baseline first: without the component, then numbers by value, then names."""
    value = level.partition("=")[2]
    without = (
        level in ("base", "closed-book", "no withholding") or level.startswith("no ") or value in ("None", "False")
    )
    parts = [part for part in re.split(r"(\d+\.?\d*(?:e-?\d+)?)", level) if part]
    return not without, [(0, float(part), "") if part[0].isdigit() else (1, 0.0, part) for part in parts]
