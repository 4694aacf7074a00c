"""Exits silently on Ctrl-C while an entry point imports its modules: no work has started yet.

An entry point must import this module first. `restore_interrupts` lets Ctrl-C raise KeyboardInterrupt again.
"""

import os
import signal
import sys

EXIT_CODE = 130


def _leave(number: int, frame: object) -> None:
    os._exit(EXIT_CODE)  # a module that is being imported could catch a KeyboardInterrupt


def restore_interrupts() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_entry_point(script: str | None) -> bool:
    """Whether the main program is the command `cdsframe`, or a script in the package's folder or its parent folder."""
    if script is None:
        return False
    folder, name = os.path.split(os.path.realpath(script))
    return folder in (os.path.dirname(_PACKAGE), _PACKAGE) or name in ("cdsframe", "cdsframe.exe")


_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

if _is_entry_point(getattr(sys.modules["__main__"], "__file__", None)) and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler  # the parent process may have disabled Ctrl-C
):
    signal.signal(signal.SIGINT, _leave)
