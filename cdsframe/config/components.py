"""Which packages may hold components besides cdsframe: those that declare it, and those that the user names.

A package declares itself by an entry point of the group `cdsframe.components`; CDSFRAME_COMPONENTS names packages on
the Python path. Everything else is refused: a configuration must not choose what code runs.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from cdsframe.errors import ConfigError

GROUP = "cdsframe.components"
VARIABLE = "CDSFRAME_COMPONENTS"


def packages() -> dict[str, str]:
    """Top-level package -> what names it, as in an error message."""
    declared = {
        entry.value.partition(":")[0].partition(".")[0]: f"the installed package {entry.name}" for entry in _installed()
    }
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return declared | {name: VARIABLE for name in given if name}


@cache
def _installed() -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=GROUP))


def require_allowed(target: str) -> None:
    """Raises ConfigError where a target lies in no package that may hold components, or its package is missing."""
    root = target.partition(".")[0]
    if root == "cdsframe":
        return
    allowed = packages()
    if root not in allowed:
        raise ConfigError(
            f"the target {target} is outside cdsframe; to allow it, install a package that declares the entry point "
            f'group {GROUP} ({root} = "{root}"), or name the package in the environment: {VARIABLE}={root}'
        )
    if find_spec(root) is None:
        raise ConfigError(
            f"the target {target}: {allowed[root]} names the package {root}, which Python does not find; install it, "
            "or add its folder to PYTHONPATH"
        )


def config_folders() -> dict[str, Path]:
    """Package -> its folder `configs`, of the packages that may hold components and have one.

    Raises ConfigError where a package that the user names does not exist.
    """
    found: dict[str, Path] = {}
    for name, origin in packages().items():
        if not name.isidentifier() or name == "cdsframe" or (spec := find_spec(name)) is None:
            raise ConfigError(
                f"{origin} names the package {name!r}, which Python does not find; install it, or correct it"
            )
        for place in spec.submodule_search_locations or ():
            if (Path(place) / "configs").is_dir():
                found[name] = Path(place) / "configs"
    return found


def imported(module_name: str, target: str) -> object:
    """The module of a target. Raises ConfigError, in one sentence, where it is missing or cannot be imported."""
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        root = module_name.partition(".")[0]
        if error.name and error.name.partition(".")[0] != root:
            raise ConfigError(f"the target {target} needs the package {error.name}, which is not installed") from None
        raise ConfigError(f"the target {target} does not exist: no module {error.name}") from None
    except Exception as error:
        if module_name.startswith("cdsframe."):
            raise
        raise ConfigError(f"the target {target} cannot be imported: {error}; correct its package") from error
