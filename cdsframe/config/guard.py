"""Refuses settings of Hydra that would run code other than components, Hydra, its plugins and cdsframe.

Hydra instantiates its callbacks, sweeper, launcher and log handlers from the configuration, before a command's function
runs. `GuardedLoader` checks each configuration that Hydra loads, that of each job of a multirun included. Does not
check components (see `check`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import hydra._internal.hydra as hydra_internals
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cdsframe.config.components import packages
from cdsframe.config.folders import built_in
from cdsframe.errors import HydraSettingError

CALLBACKS = ("cdsframe.cli.multirun.AfterEachJob", "cdsframe.config.AfterEachJob")
"""The only callback, and its path in earlier versions."""

_PLUGIN = re.compile(r"(hydra_plugins|hydra\._internal\.core_plugins)\.[\w.]+")
_PART_OF_SWEEPER = re.compile(r"optuna\.(samplers|pruners|storages)\.[A-Z]\w*(Sampler|Pruner|Storage)")
_LOGGING = re.compile(
    r"logging\.((Stream|File|Null)Handler|Formatter"
    r"|handlers\.((Timed)?RotatingFile|WatchedFile|SysLog|Socket|HTTP|SMTP)Handler)"
    r"|rich\.logging\.RichHandler|colorlog\.ColoredFormatter"
)
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_OUTPUT_DIR = ("${hydra.runtime.output_dir}", "${hydra:runtime.output_dir}")
_WHY = "a configuration must not choose what code runs"


class GuardedLoader(ConfigLoaderImpl):
    """Hydra's configuration loader.

    Raises HydraSettingError for settings that would run other code, and for a group without the name of an option.
    """

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        for source in self.config_search_path.get_path():
            if source.provider == "main":
                _require_allowed_folders([source.path], "--config-path")
        try:
            cfg = super().load_configuration(config_name, overrides, *args, **kwargs)
        except ValueError:  # Hydra's, which does not name the override
            if problems := self._nameless(overrides):
                raise HydraSettingError(problems) from None
            raise
        if problems := hydra_problems(cfg):
            raise HydraSettingError(problems)
        return cfg

    def _nameless(self, overrides: list[str]) -> list[str]:
        """Returns an error for each override that sets a group to something that is no name, such as `retriever=5`."""
        given = [one for one in OverridesParser.create().parse_overrides(overrides) if not one.is_delete()]
        return [
            f"{one.input_line}: a group needs the name of an option; give one of "
            f"{', '.join(self.repository.get_group_options(one.key_or_group))}"
            for one in given
            if not isinstance(one.value(), str | list) and self.repository.group_exists(one.key_or_group)
        ]

    def _process_config_searchpath(self, config_name: str | None, parsed_overrides: list[Any], repo: Any) -> None:
        """Checks `hydra.searchpath` before Hydra imports its packages."""
        loaded = repo.load_config(config_path=config_name) if config_name is not None else None
        given = [one.value() for one in parsed_overrides if one.get_key_element() == "hydra.searchpath"]
        if not given and loaded is not None and OmegaConf.is_dict(loaded.config):
            given = [OmegaConf.select(loaded.config, "hydra.searchpath")]
        if given and isinstance(given[0], list | ListConfig):
            _require_allowed_folders([str(entry) for entry in given[0]], "hydra.searchpath")
        super()._process_config_searchpath(config_name, parsed_overrides, repo)


@contextmanager
def guarded() -> Iterator[None]:
    """Makes `hydra.main` load configurations by `GuardedLoader`. Hydra has no other way to choose the loader."""
    original = hydra_internals.ConfigLoaderImpl
    hydra_internals.ConfigLoaderImpl = GuardedLoader  # type: ignore[misc]
    try:
        yield
    finally:
        hydra_internals.ConfigLoaderImpl = original  # type: ignore[misc]


@cache
def summaries() -> frozenset[str]:
    """The functions that built-in primary configurations call after the jobs of a multirun."""
    files = (path.read_text(encoding="utf-8") for path in built_in().glob("*.yaml"))
    return frozenset(name for text in files for name in re.findall(r"(?:function|at_end): *(cdsframe\.[\w.]+)", text))


def may_be_imported(folder: str) -> bool:
    """Whether a `pkg://` entry of Hydra's search path names a package of cdsframe, Hydra or an allowed package.

    Hydra imports the package to find its files.
    """
    kind, separator, place = folder.partition("://")
    root = re.split(r"[./]", place)[0]
    return kind != "pkg" or not separator or root in ("cdsframe", "hydra", "hydra_plugins", *packages())


def _require_allowed_folders(folders: list[str], setting: str) -> None:
    if refused := [folder for folder in folders if not may_be_imported(folder)]:
        raise HydraSettingError(
            f"{setting}: {refused[0]} would import a package that is not declared to cdsframe; give the folder's path "
            "as file://FOLDER, or declare the package (docs/extend.md)"
        )


def hydra_problems(cfg: DictConfig) -> list[str]:
    """Returns an error for each setting below `hydra` that would run other code."""
    settings = cfg.get("hydra") or {}
    return [
        *_callback_problems(settings.get("callbacks")),
        *_plugin_problems(settings.get("sweeper"), "hydra.sweeper"),
        *_plugin_problems(settings.get("launcher"), "hydra.launcher"),
        *_logging_problems(settings.get("hydra_logging"), "hydra.hydra_logging"),
        *_logging_problems(settings.get("job_logging"), "hydra.job_logging"),
        *_environment_problems(settings.get("job") or {}),
    ]


def _callback_problems(node: Any) -> Iterator[str]:
    for path, key, value in _values(node, "hydra.callbacks"):
        if key == "_target_" and (path.count(".") != 2 or value not in CALLBACKS):
            yield f"{path}._target_: {value} is not allowed; remove the callback: {_WHY}"
        elif key in ("function", "at_end") and value is not None and value not in summaries():
            yield f"{path}.{key}: {value} does not summarise multiruns; use one of {', '.join(sorted(summaries()))}"


def _plugin_problems(node: Any, root: str) -> Iterator[str]:
    for path, key, value in _values(node, root):
        allowed = _PLUGIN if path == root else _PART_OF_SWEEPER
        if key == "_target_" and not allowed.fullmatch(str(value)):
            yield f"{path}._target_: {value} is not part of a Hydra plugin; remove it: {_WHY}"
        elif key == "custom_search_space" and value is not None:
            yield f"{path}.{key} would call {value}; remove it, and give hydra.sweeper.params: {_WHY}"


def _logging_problems(node: Any, root: str) -> Iterator[str]:
    """Yields the problems of settings for `logging.config.dictConfig`, which imports classes, factories and `ext://…`."""
    for path, key, value in _values(node, root):
        if key in ("class", "()"):
            if not _LOGGING.fullmatch(str(value)):
                yield (
                    f"{path}.{key}: {value} is not allowed; use a handler or formatter of Python's logging, such as "
                    f"logging.FileHandler: {_WHY}"
                )
        elif isinstance(value, str) and value.startswith("ext://") and value not in _STREAMS:
            yield f"{path}.{key}: {value} is not allowed; use {' or '.join(_STREAMS)}: {_WHY}"
        elif isinstance(value, _Unresolved) and not value.is_path:
            yield f"{path}.{key}: {value} cannot be resolved before the job starts; begin it with a folder's name and /"


def _environment_problems(job: Any) -> Iterator[str]:
    """Yields the problem of environment variables that the configuration sets: they can name packages and programs."""
    copied = set(job.get("env_copy") or ())
    if given := [str(name) for name in job.get("env_set") or () if name not in copied]:
        yield f"hydra.job.env_set: set {', '.join(given)} in the shell that starts the command instead: {_WHY}"


class _Unresolved(str):
    """The text of a value with an interpolation that can only be resolved in the job."""

    @property
    def is_path(self) -> bool:
        """Whether the text begins with a folder, so that its value is not `ext://…`."""
        return self.startswith(_OUTPUT_DIR) or not re.match(r"[a-z]*(:|\$\{)", self)


def _values(node: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Yields the path of a node, a key and the key's resolved value, for all values that are neither maps nor lists."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        raw = node._get_node(key)._value()  # type: ignore[union-attr]
        try:
            value = node[key]
        except OmegaConfBaseException:
            value = None if raw == "???" else _Unresolved(raw)
        if OmegaConf.is_config(value):
            yield from _values(value, f"{path}.{key}")
        else:
            yield path, str(key), value
