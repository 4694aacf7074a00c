"""Where configuration becomes objects: `check` refuses what is wrong, `Composition` builds a system of components.

The only room of the package, beside `cli` and the entry points, that knows Hydra and sees a config.
"""

from typing import Any

from cdsframe.config.build import DEPENDENCIES, build, examine, locate
from cdsframe.config.check import check
from cdsframe.config.composition import Composition

__all__ = ["DEPENDENCIES", "Composition", "build", "check", "examine", "locate"]


def __getattr__(name: str) -> Any:
    """The callback's place before version 0.2, which configurations of users may name."""
    if name == "AfterEachJob":
        from cdsframe.cli.multirun import AfterEachJob

        return AfterEachJob
    raise AttributeError(f"module {__name__} has no attribute {name}")
