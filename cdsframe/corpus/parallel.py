"""Applies a function to many items in several processes. Yields results in order; holds few items in memory.

A process that dies loses only its current item. (`ProcessPoolExecutor` breaks as a whole then, and does not report the
item.) Does not interpret the items.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, TypeVar

from cdsframe.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Maximum number of items per process that are in progress or finished but not yet yielded."""


class Died(Exception):
    """The process of an item ended without a result, for example because the kernel killed it when memory ran out."""


class TooLong(BaseException):
    """Raised by `time_limit`. Not a subclass of Exception, so that no reader handles it as an error of a file."""


class time_limit:
    """Raises TooLong in the block after the given seconds. Has no effect outside the main thread or without SIGALRM.

    The signal repeats each second, because a destructor may swallow the first exception. It raises nothing while the
    limit is set up or cleaned up: a process that the system stopped for a second would leave the timer running.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._before: tuple[Any, tuple[float, float]] | None = None

    def __enter__(self) -> None:
        if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGALRM, _stop), signal.getitimer(signal.ITIMER_REAL)
            signal.setitimer(signal.ITIMER_REAL, self._seconds, 1)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            handler, timer = self._before
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, *timer)


_OUTSIDE = {time_limit.__enter__.__code__, time_limit.__exit__.__code__}
"""Code that runs between the block and its surroundings."""


def _stop(number: int, frame: FrameType | None) -> None:
    """Handles the signal: raises TooLong in the interrupted code, unless that sets up or cleans up a limit."""
    while frame is not None:
        if frame.f_code in _OUTSIDE:
            return
        frame = frame.f_back
    raise TooLong


def ordered(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result | Died]]:
    """Yields each item with its result, or with Died. Raises the exceptions of the function.

    With 0 or 1 workers, this process handles the items one after the other. With more, the function and the items must
    be picklable; the processes are new interpreters (`spawn`), which end with the iteration, also after an error.
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
    """Worker processes, one for each thread that calls `work`."""

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
            # The new process inherits this thread's signal mask, so that it ignores Ctrl-C from the beginning.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self._function, theirs), daemon=True)
        with self._lock:
            if self._ended:
                raise InputError("ended")  # the iteration has ended; no caller waits for this item
            process.start()
            self._processes.append(process)
        theirs.close()
        try:
            ours.recv()  # waits until the process is ready
        except (EOFError, OSError):
            raise InputError("corpus.workers: a process could not be started; set corpus.workers=0") from None
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
    """Runs a worker process: applies the function to each item. Ends with its parent, even if the parent is killed."""
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
        except Exception as error:  # noqa: BLE001 (sent to the parent, which raises it)
            result = (False, error)
        connection.send(result)
