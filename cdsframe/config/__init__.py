"""Turns a configuration into objects: `check` raises ConfigError if it is invalid, `Composition` builds components.

Only this package and `cli` import Hydra and OmegaConf and read configurations.
"""

from typing import Any

from cdsframe.config.build import DEPENDENCIES, build, examine, locate
from cdsframe.config.check import check
from cdsframe.config.composition import Composition

__all__ = ["DEPENDENCIES", "Composition", "build", "check", "examine", "locate"]


def __getattr__(name: str) -> Any:
    """Imports `AfterEachJob` for users' configurations that name this older path, `cdsframe.config.AfterEachJob`."""
    if name == "AfterEachJob":
        from cdsframe.cli.multirun import AfterEachJob

        return AfterEachJob
    raise AttributeError(f"module {__name__} has no attribute {name}")
