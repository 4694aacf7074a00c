"""Where configuration becomes objects: `check` refuses what is wrong, `build` makes components, `entry` runs a script.

The only room of the package, beside the entry points, that knows Hydra and sees a config.
"""

from cdsframe.config.build import DEPENDENCIES, build, examine, locate
from cdsframe.config.check import check
from cdsframe.config.entry import entry
from cdsframe.config.multirun import AfterEachJob

__all__ = ["DEPENDENCIES", "AfterEachJob", "build", "check", "entry", "examine", "locate"]
