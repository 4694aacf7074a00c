"""Composes a system in Python, with the same configuration files and checks as the commands. Creates no run folder."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cdsframe.cli.shadow import hydra_folders, search_path, shadowed
from cdsframe.config import resolvers  # noqa: F401 (registers the OmegaConf resolvers)
from cdsframe.config.check import check
from cdsframe.config.components import config_folders
from cdsframe.config.composition import Composition
from cdsframe.config.folders import PRIMARIES, built_in
from cdsframe.config.guard import GuardedLoader
from cdsframe.config.hydra_errors import hydra_message, yaml_problem
from cdsframe.config.open_keys import with_plus
from cdsframe.errors import ConfigError, near_miss
from cdsframe.machine.environment import set_defaults

_one_at_a_time = threading.Lock()
"""Hydra's state is global to the process."""


def compose(
    primary: str, overrides: Sequence[str] | None = None, *, config_dir: str | Path | None = None
) -> Composition:
    """Composes a system; each component is built at first use.

    Args:
        primary: `ask`, `serve`, `evaluate`, `train` or `ingest`; decides which groups the system has.
        overrides: as on the command line: `["retriever=hierarchical", "index.name=demo"]`; None: none.
        config_dir: a folder with additional configuration files, as `--config-dir`.

    Raises ConfigError with all problems of the configuration. Example:

        system = cdsframe.compose("serve", ["retriever=bm25", "index.name=demo"])
        answer = system.pipeline.answer("Which dose is given to children?")
    """
    if not isinstance(primary, str) or primary not in PRIMARIES:
        raise ConfigError(f"{primary!r} is not a primary configuration; {near_miss(str(primary), PRIMARIES)}")
    if not isinstance(config_dir, str | Path | None):
        raise ConfigError(f"config_dir must be the path of a folder, got {config_dir!r}")
    given = _list_of_strings(overrides)
    set_defaults()
    folders = [*([Path(config_dir)] if config_dir is not None else []), *config_folders().values()]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"config_dir: the folder {folder} does not exist; correct the path")
    if problems := shadowed([*hydra_folders(), built_in(), *folders]):
        raise ConfigError(problems)
    cfg = _composed(primary, [*_search_path(folders, given), *with_plus(given, built_in() / f"{primary}.yaml")])
    if OmegaConf.is_missing(cfg, "question"):
        cfg.question = "-"  # in Python the question is an argument of the pipeline
    check(cfg)
    return Composition(cfg)


def _list_of_strings(overrides: Any) -> list[str]:
    if isinstance(overrides, str):
        raise ConfigError(f"overrides must be a list of strings, got a string; write [{overrides!r}]")
    given = list(overrides or ()) if isinstance(overrides, Iterable | None) else [overrides]
    if isinstance(overrides, Mapping) or not all(isinstance(override, str) for override in given):
        raise ConfigError('overrides must be a list of strings, as on the command line, such as ["index.name=demo"]')
    return given


def _search_path(folders: Sequence[Path], overrides: Sequence[str]) -> list[str]:
    """Returns the override that adds the folders to Hydra's search path; empty without folders."""
    if not folders:
        return []
    if any(override.lstrip("+").startswith("hydra.searchpath=") for override in overrides):
        raise ConfigError(
            "hydra.searchpath cannot be set beside config_dir or component packages; remove it, and pass your folder "
            "as config_dir"
        )
    return [search_path([f"file://{folder.resolve()}" for folder in folders])]


def _composed(primary: str, overrides: list[str]) -> DictConfig:
    try:
        with _one_at_a_time, _isolated_hydra(), initialize_config_dir(str(built_in()), version_base="1.3"):
            _guard()
            return hydra_compose(primary, overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(hydra_message(error)) from error
    except YAMLError as error:
        raise ConfigError(yaml_problem(error) or "a configuration file is not valid YAML") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            "a configuration file is not UTF-8 text; save the files of your configuration folders as UTF-8"
        ) from error
    except ValueError as error:  # Hydra refuses some overrides by it
        raise ConfigError(str(error)) from error


def _guard() -> None:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None, "initialize_config_dir sets it"  # noqa: S101
    hydra.config_loader = GuardedLoader(hydra.config_loader.get_search_path())


@contextmanager
def _isolated_hydra() -> Iterator[None]:
    """Lets a program that uses Hydra itself call `compose`: clears Hydra's global state and restores it afterwards."""
    state: Any = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)
