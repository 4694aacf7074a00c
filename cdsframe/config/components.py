"""Decides which packages besides cdsframe may provide components: those that declare it, and those that the user lists.

A package declares it by an entry point of the group `cdsframe.components`; CDSFRAME_COMPONENTS lists packages on the
Python path. All other targets are refused, so that a configuration cannot run arbitrary code.
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
    """Top-level package -> where it was declared or listed, for error messages."""
    declared = {
        entry.value.partition(":")[0].partition(".")[0]: f"the installed package {entry.name}" for entry in _installed()
    }
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return declared | {name: VARIABLE for name in given if name}


@cache
def _installed() -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=GROUP))


def require_allowed(target: str) -> None:
    """Raises ConfigError if the target's package may not provide components or is not installed."""
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
            f"the target {target}: {allowed[root]} names the package {root}, which is not importable; install it, "
            "or add its folder to PYTHONPATH"
        )


def config_folders() -> dict[str, Path]:
    """Package -> its folder `configs`, for all allowed packages that have one.

    Raises ConfigError if an allowed package is not installed.
    """
    found: dict[str, Path] = {}
    for name, origin in packages().items():
        if not name.isidentifier() or name in ("cdsframe", "__main__") or (spec := find_spec(name)) is None:
            raise ConfigError(
                f"{origin} names the package {name!r}, which is not importable; install it, or correct the name"
            )
        for place in spec.submodule_search_locations or ():
            if (Path(place) / "configs").is_dir():
                found[name] = Path(place) / "configs"
    return found


def imported(module_name: str, target: str) -> object:
    """Imports a target's module. Raises ConfigError if it is missing or its import fails."""
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        root = module_name.partition(".")[0]
        if error.name and error.name.partition(".")[0] != root:
            raise ConfigError(
                f"the target {target} needs the package {error.name}, which is not installed; install it"
            ) from None
        raise ConfigError(
            f"the target {target} does not exist: there is no module {error.name}; correct _target_"
        ) from None
    except (Exception, SystemExit) as error:
        if module_name.startswith("cdsframe."):
            raise
        raise ConfigError(f"the target {target} cannot be imported: {error}; fix the package") from error
