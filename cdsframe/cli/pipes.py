"""Lets a program continue without a traceback when the reader of its output leaves early (`python ask.py … | head -1`).

Handles the standard streams only: any other broken pipe stays an error.
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
def passing() -> Iterator[None]:
    """Inside this context, discards output whose reader has left or whose stream is closed.

    Replaces the process's own streams only: absl closes the stream of its log handler unless it is a standard stream.
    """
    streams = sys.stdout, sys.stderr
    if streams != (sys.__stdout__, sys.__stderr__):
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        wrapped = [_Passing(nowhere if stream is None or stream.closed else stream) for stream in streams]
        sys.stdout, sys.stderr = wrapped
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            for stream in wrapped:
                stream.flush()


class _Passing:
    """A stream of text or of bytes. Writes after its reader has left go nowhere, those to its `buffer` too."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @cached_property
    def buffer(self) -> _Passing:
        return _Passing(self._stream.buffer)

    @cached_property
    def raw(self) -> _Passing:
        return _Passing(self._stream.raw)

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
    """Sends what is printed from now on nowhere; returns whether a reader of a standard stream had left."""
    broken = _closed()
    for descriptor in broken:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    return bool(broken)


def _closed() -> list[int]:
    """The descriptors of standard output and error whose reader has left."""
    found = []
    for descriptor in (1, 2):
        poll = select.poll()
        with suppress(OSError, ValueError):
            poll.register(descriptor, select.POLLOUT)
            found += [number for number, event in poll.poll(0) if event & (select.POLLERR | select.POLLHUP)]
    return found
