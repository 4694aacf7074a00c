"""A function over many items in several processes, results in the order of the items, a bounded number under way.

A process that dies takes nothing with it but the item it was at. (The standard library's pool breaks as a whole then,
and does not say at which item.) Does not know what the items are.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, TypeVar

from cdsframe.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Items under way or finished and waiting for their turn, for each process."""


class Died(Exception):
    """The process that worked on an item ended without a result; the kernel does so where memory runs out."""


class TooLong(BaseException):
    """Raised inside a `time_limit`; not an Exception, so that no reader takes it for a fault of its file."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TooLong in the block after some seconds. Outside a main thread, or without SIGALRM, there is no limit."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong

    handler = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again each second: a destructor may swallow the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def ordered(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result | Died]]:
    """Each item with its result, or with Died; what the function raises is raised here.

    With `workers` of 0 or 1 the items are worked on here, one after the other. Otherwise the function and the items
    must be picklable; the processes are new interpreters (`spawn`), and end when the iteration does, however it does.
    """
    if workers <= 1:
        for item in items:
            yield item, function(item)
        return
    crew = _Crew(function)
    threads = ThreadPoolExecutor(workers, "corpus")
    waiting: deque[tuple[Item, Future[Result | Died]]] = deque()
    try:
        for item in items:
            waiting.append((item, threads.submit(crew.work, item)))
            if len(waiting) >= _AHEAD * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
        crew.end()
        threads.shutdown(cancel_futures=True)


class _Crew:
    """Processes, one for each thread that asks."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function, self._own, self._ended = function, threading.local(), False
        self._processes: list[Any] = []
        self._lock = threading.Lock()

    def work(self, item: Any) -> Any:
        connection = getattr(self._own, "connection", None) or self._start()
        try:
            connection.send(item)
            ok, value = connection.recv()
        except (EOFError, OSError):
            self._own.connection = None
            return Died()
        if not ok:
            raise value
        return value

    def _start(self) -> Connection:
        if hasattr(signal, "pthread_sigmask"):
            # A process begins with the mask of the thread that starts it: Ctrl-C is not for it, from the beginning.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self._function, theirs), daemon=True)
        with self._lock:
            if self._ended:
                raise InputError("ended")  # nobody waits for this item any more
            process.start()
            self._processes.append(process)
        theirs.close()
        try:
            ours.recv()  # it is ready
        except (EOFError, OSError):
            raise InputError("corpus.workers: a process could not be started; use corpus.workers=0") from None
        self._own.connection = ours
        return ours

    def end(self) -> None:
        with self._lock:
            self._ended = True
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    """A worker's life: it ends with its parent, even where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            result = (True, function(item))
        except Exception as error:  # noqa: BLE001 (handed over and raised in the parent)
            result = (False, error)
        connection.send(result)
