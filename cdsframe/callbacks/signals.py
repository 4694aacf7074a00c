"""Records SIGTERM and Ctrl-C, so that a training can stop after a step."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)


class Signals:
    """Records the first SIGTERM or SIGINT; a second one has its usual effect."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that was received."""
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Installs the handlers; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._record) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore(self) -> None:
        """Restores the handlers that were installed before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        log.warning("%s received: training stops after this step and writes a checkpoint", signal.Signals(number).name)
        self.restore()
