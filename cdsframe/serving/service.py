"""Runs a pipeline for a server: loads it in the background, answers a bounded number of requests, stops when told.

Requests are answered in the order they came, `concurrency` at a time, in threads; the event loop never waits for a
model. Knows no protocol: it raises the errors of `cdsframe.errors`, which each face translates.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter

from cdsframe.errors import BusyError, CdsframeError, DefectError, NotReadyError, QuestionError, UnavailableError
from cdsframe.filters import SHOWN_FIELDS
from cdsframe.pipeline import Pipeline
from cdsframe.types import Answer, Filters, Message

log = logging.getLogger(__name__)

_LOOK_UP = 0.25
"""Seconds between two looks at whether the client is still there."""
_VALUES_LAST = 60.0
"""Seconds that the values of the filters' fields are kept: every page asks for them."""
_OFFERED = 200
"""Values of a field that a page offers, the most frequent ones."""
_TRY_AGAIN = 10
"""Seconds until an engine or an index that does not answer may be asked again."""


class Service:
    """Answers requests with a pipeline.

    Args:
        concurrency: how many requests are answered at once. `generator=transformers` generates one answer at a time;
            with it, more than one only overlaps the search of one request with the generation of another.
        queue: how many more may wait.
    """

    def __init__(self, pipeline: Pipeline, concurrency: int, queue: int) -> None:
        self.pipeline = pipeline
        self.ready = False
        self.failure: Exception | None = None
        self._places = threading.BoundedSemaphore(concurrency + queue)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="answer")
        self._closed = threading.Event()
        self._looking = threading.Lock()
        self._values: tuple[float, dict[str, list[str]]] | None = None

    def start(self, failed: Callable[[], None]) -> None:
        """Loads the pipeline in the background; calls `failed` where that cannot be done (see `failure`)."""
        threading.Thread(target=self._load, args=(failed,), name="load", daemon=True).start()

    def close(self) -> None:
        """Ends all generation."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def admit(self) -> None:
        """Takes a place for a request, which `answer` answers. Raises NotReadyError or BusyError if there is none."""
        if not self.ready:
            raise NotReadyError("the model is being loaded", retry_after=5)
        if not self._places.acquire(blocking=False):
            raise BusyError("too many questions at once, try again", retry_after=2)

    def values(self) -> dict[str, list[str]]:
        """The values of the fields that a page offers as filters, as they are or were a minute ago.

        Raises ServiceError where the index is not open or cannot be read.
        """
        if not self.ready:
            raise NotReadyError("the model is being loaded", retry_after=5)
        index = self.pipeline.index if self.pipeline.retriever.searches else None
        with self._looking:
            if self._values is None or perf_counter() - self._values[0] > _VALUES_LAST:
                try:
                    found = {f: sorted(index.values(f, {}, _OFFERED)) if index else [] for f in SHOWN_FIELDS}
                except Exception as error:  # noqa: BLE001 (it becomes a refusal, as an answer's does)
                    raise self._refusal(error) from None
                self._values = perf_counter(), found
            return self._values[1]

    async def answer(
        self, question: str, filter: Filters, history: Sequence[Message], gone: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[str | Answer]:
        """Yields pieces of text, then the answer, of an admitted request.

        Ends early, and stops the generation, when the client has disconnected (`gone`) or the iterator is closed.

        Raises QuestionError where the question cannot be answered, ServiceError where the service cannot answer.
        """
        loop, items, stop = asyncio.get_running_loop(), asyncio.Queue[str | Answer | Exception](), threading.Event()

        def tell(item: str | Answer | Exception) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(items.put_nowait, item)

        self._pool.submit(self._work, question, filter, history, tell, stop).add_done_callback(
            lambda _: self._places.release()
        )
        looked = loop.time()
        try:
            while True:
                if loop.time() >= looked + _LOOK_UP:
                    looked = loop.time()
                    if self._closed.is_set() or await gone():
                        return
                try:
                    item = await asyncio.wait_for(items.get(), _LOOK_UP)
                except TimeoutError:
                    continue
                if isinstance(item, Exception):
                    raise self._refusal(item)
                yield item
                if isinstance(item, Answer):
                    return
        finally:
            stop.set()

    def _work(
        self,
        question: str,
        filter: Filters,
        history: Sequence[Message],
        tell: Callable[[str | Answer | Exception], None],
        stop: threading.Event,
    ) -> None:
        if stop.is_set():
            return
        items = self.pipeline.stream(question, filter, history)
        try:
            for item in items:
                if item:
                    tell(item)
                if stop.is_set() or self._closed.is_set():
                    return
        except Exception as error:  # noqa: BLE001 (it is raised again where the request is answered)
            tell(error)
        finally:
            items.close()  # type: ignore[attr-defined]

    @staticmethod
    def _refusal(error: Exception) -> CdsframeError:
        """The error that the asker may see; the log has the cause."""
        if isinstance(error, QuestionError):
            return error
        if isinstance(error, CdsframeError):
            log.error("a question could not be answered: %s", error)
            return UnavailableError("the server cannot answer at the moment; its log says why", _TRY_AGAIN)
        frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        log.error("a defect, %s at %s", type(error).__name__, " > ".join(frames))  # its message can hold a text
        return DefectError("the server failed; its log says where")

    def _load(self, failed: Callable[[], None]) -> None:
        started = perf_counter()
        log.info("loading the model and opening the index ...")
        try:
            self.pipeline.load()
        except Exception as error:  # noqa: BLE001 (serve raises it in the main thread)
            self.failure = error
            failed()
            return
        self.ready = True
        log.info("ready after %.1f s", perf_counter() - started)
