"""Prevents a traceback when the reader of a command's output closes the pipe early (`python ask.py … | head -1`).

Handles the standard streams only: any other broken pipe is still an error.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any


@contextmanager
def ignore_closed_pipes() -> Iterator[None]:
    """Inside this context, output to a closed standard stream or pipe is discarded.

    Wraps `sys.stdout` and `sys.stderr` only if they are the process's original streams: absl's log handler would close
    its stream if that were neither an original stream nor the current one.
    """
    streams = sys.stdout, sys.stderr
    if streams != (sys.__stdout__, sys.__stderr__):
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as devnull:
        wrapped = [_PipeSafeStream(devnull if stream is None or stream.closed else stream) for stream in streams]
        sys.stdout, sys.stderr = wrapped
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            for stream in wrapped:
                stream.flush()


class _PipeSafeStream:
    """Wraps a text or byte stream and its `buffer`. Discards what is written after the reader has closed the pipe."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @cached_property
    def buffer(self) -> _PipeSafeStream:
        return _PipeSafeStream(self._stream.buffer)

    @cached_property
    def raw(self) -> _PipeSafeStream:
        return _PipeSafeStream(self._stream.raw)

    def writelines(self, lines: Iterable[str | bytes]) -> None:
        for line in lines:
            self.write(line)

    def write(self, text: str | bytes) -> int:
        try:
            written: int = self._stream.write(text)
            return written
        except BrokenPipeError:
            if not _silence():
                raise
            return len(text)
        except ValueError:  # the stream was closed meanwhile
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            if not _silence():
                raise
        except ValueError:
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _silence() -> bool:
    """Redirects standard streams whose reader has closed the pipe to /dev/null; returns whether it redirected any."""
    broken = _closed()
    for descriptor in broken:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, descriptor)
        os.close(devnull)
    return bool(broken)


def _closed() -> list[int]:
    """Returns the descriptors of standard output and error whose reader has closed the pipe."""
    found = []
    for descriptor in (1, 2):
        poll = select.poll()
        with suppress(OSError, ValueError):
            poll.register(descriptor, select.POLLOUT)
            found += [number for number, event in poll.poll(0) if event & (select.POLLERR | select.POLLHUP)]
    return found
