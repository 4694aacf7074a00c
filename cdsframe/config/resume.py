"""Whether a run's folder can be gone on with by this configuration; if not, what differs. Reads `config.yaml` only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cdsframe.errors import ConfigError

_FREE = (
    "resume", "logger", "paths", "training.adapters", "training.checkpoint_steps", "training.checkpoint_minutes",
    "trainer.progress",
)  # fmt: skip
"""What may differ: it does not change what is learnt."""


def interrupted_run(cfg: DictConfig, written: Mapping[str, Any], multirun: bool) -> Path:
    """The folder that `resume` names.

    Args:
        written: the configuration as a run writes it into `config.yaml`.

    Raises ConfigError, with each setting that differs, where it was trained with another configuration.
    """
    folder = Path(str(cfg.resume))
    if multirun:
        raise ConfigError("resume goes on with one run, and -m starts several; leave one of them out")
    file = folder / "config.yaml"
    if not file.is_file():
        raise ConfigError(f"resume: {folder} is not the folder of a run (it has no config.yaml)")
    there, here = _flat(OmegaConf.to_container(OmegaConf.load(file))), _flat(written)
    changed = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key) and not _free(key)]
    if not changed:
        return folder
    started = folder / ".hydra" / "overrides.yaml"
    overrides = OmegaConf.to_container(OmegaConf.load(started)) if started.is_file() else None
    with_what = f"it was started with: {' '.join(map(str, overrides))}" if isinstance(overrides, list) else ""
    raise ConfigError(
        [
            f"resume: {folder} was trained with another configuration",
            *(f"{key} is {there.get(key, 'absent')!r} there and {here.get(key, 'absent')!r} here" for key in changed),
            *filter(None, [with_what]),
        ]
    )


def _free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{path}.{key}" if path else str(key))
    return flat
