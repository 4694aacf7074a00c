"""Ends an entry point without a word when Ctrl-C comes while its modules are imported; imported before all of them.

Then nothing has begun that could be lost. `over` ends it: from there on Ctrl-C is an exception, as elsewhere.
"""

import os
import signal
import sys

EXIT_CODE = 130


def _leave(number: int, frame: object) -> None:
    os._exit(EXIT_CODE)  # an exception could be swallowed by whatever is being imported


def over() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_entry_point(script: str | None) -> bool:
    """Whether the program is a script beside the package or a command of it, not one that imports such a script."""
    if script is None:
        return False
    folder, name = os.path.split(os.path.realpath(script))
    return folder in (os.path.dirname(_PACKAGE), _PACKAGE) or name in ("cdsframe", "cdsframe.exe")


_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

if _is_entry_point(getattr(sys.modules["__main__"], "__file__", None)) and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler  # who started it may have switched Ctrl-C off
):
    signal.signal(signal.SIGINT, _leave)
