"""Checks whether a configuration can resume a run's folder, and reports the settings that differ. Runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cdsframe.artifacts.identity import differences
from cdsframe.errors import ConfigError

_FREE = (
    "resume", "logger", "paths", "training.adapters", "training.models", "training.embedders", "training.rerankers",
    "training.cache", "callbacks.checkpoint", "callbacks.progress", "callbacks.throughput",
    "trainer.profiler", "own_process",
)  # fmt: skip
"""Keys that may differ between a run and its resumption: they do not affect training."""


def differing(recorded: Any, current: Any) -> dict[str, tuple[Any, Any]]:
    """Returns config path -> (recorded value, current value) of the settings that differ and affect training."""
    found = differences(recorded, current, missing="absent")
    return {key: both for key, both in found.items() if not _free(key)}


def read_yaml(file: Path, kind: type) -> Any:
    """Reads a YAML file of a run without resolving interpolations.

    Raises ConfigError if its content is not of the type `kind` (`dict` or `list`).
    """
    try:
        found = OmegaConf.to_container(OmegaConf.create(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException):
        found = None
    if not isinstance(found, kind):
        raise ConfigError(f"resume: {file} is damaged; start a new run, or remove its folder")
    return found


def interrupted_run(cfg: DictConfig, written: Mapping[str, Any]) -> Path:
    """Returns the folder that `resume` names, if this configuration can resume the run in it.

    Args:
        written: the current configuration as a run writes it into `config.yaml`.

    Raises ConfigError if the folder is not a run's, or if the run had another configuration; the message then lists
    each setting that differs.
    """
    folder = Path(str(cfg.resume))
    file = folder / "config.yaml"
    if not file.is_file():
        raise ConfigError(f"resume: {folder} is not the folder of a run (it has no config.yaml)")
    changed = differing(read_yaml(file, dict), written)
    if not changed:
        return folder
    started = folder / ".hydra" / "overrides.yaml"
    overrides = read_yaml(started, list) if started.is_file() else []
    command = f"it was started with the overrides: {' '.join(map(str, overrides))}" if overrides else ""
    raise ConfigError(
        [
            f"resume: {folder} was trained with another configuration",
            *(f"{key} was {recorded!r} and is {current!r} now" for key, (recorded, current) in changed.items()),
            *filter(None, [command]),
        ]
    )


def _free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)
