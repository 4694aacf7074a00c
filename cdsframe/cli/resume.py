"""Whether a run's folder can be gone on with by this configuration; if not, what differs. Reads `config.yaml` only."""

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
    "training.cache", "training.checkpoint_steps", "training.checkpoint_minutes", "trainer.progress", "own_process",
)  # fmt: skip
"""What may differ: it does not change what is learnt."""


def differing(there: Any, here: Any) -> dict[str, tuple[Any, Any]]:
    """The settings that differ between two configurations as they are written, of those that change what is learnt."""
    return {key: both for key, both in differences(there, here, missing="absent").items() if not _free(key)}


def read_yaml(file: Path, kind: type) -> Any:
    """What a run has written, `kind` being `dict` or `list`, unresolved. Raises ConfigError where it is damaged."""
    try:
        found = OmegaConf.to_container(OmegaConf.create(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException):
        found = None
    if not isinstance(found, kind):
        raise ConfigError(f"resume: {file} is damaged; begin anew, or take its folder away")
    return found


def interrupted_run(cfg: DictConfig, written: Mapping[str, Any]) -> Path:
    """The folder that `resume` names.

    Args:
        written: the configuration as a run writes it into `config.yaml`.

    Raises ConfigError, with each setting that differs, where it was trained with another configuration.
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
    with_what = f"it was started with: {' '.join(map(str, overrides))}" if overrides else ""
    raise ConfigError(
        [
            f"resume: {folder} was trained with another configuration",
            *(f"{key} is {there!r} there and {here!r} here" for key, (there, here) in changed.items()),
            *filter(None, [with_what]),
        ]
    )


def _free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)
