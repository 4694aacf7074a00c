"""Processes that tests start: how long a test waits for them, and that none outlives its test.

A machine that is busy with other work needs longer: every limit grows with the load.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

_MOST = 10.0
"""The largest factor by which a limit grows."""


def patience(seconds: float) -> float:
    """A limit in seconds for this machine now: `seconds` on an idle one, up to ten times that under load."""
    return seconds * min(_MOST, 1 + os.getloadavg()[0] / (os.cpu_count() or 1))


@contextmanager
def child(command: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process in a session of its own. At the end of the block it is killed with all processes that it started."""
    process = subprocess.Popen([*map(str, command)], start_new_session=True, **options)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run_child(command: Sequence[Any], seconds: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command and returns its exit code and output as text. Raises TimeoutExpired when it takes too long."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with child(command, **{**pipes, **options}) as process:
        out, err = process.communicate(timeout=patience(seconds))
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
