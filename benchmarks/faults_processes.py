"""The processes of `faults_ingest`: one that writes and is killed, one that searches and judges what it sees.

Each is forked from a process that has imported all of it once. Kills nothing by itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from threading import RLock
from typing import Any

from tqdm import tqdm

from benchmarks.measuring import composed, percentile
from cdsframe.config import build
from cdsframe.contracts import Index
from cdsframe.embedder import HashEmbedder
from cdsframe.errors import CdsframeError, InputError
from cdsframe.index.elasticsearch.commits import lease
from cdsframe.index.elasticsearch.searches import reading
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.rebuild import rebuild
from cdsframe.ingestion.update import update
from cdsframe.types import LEVELS, Document, Hit, Request, Section

WINDOW = 8
"""Passages that are embedded together: few, so that a kill leaves some of many."""

LEASE = 2.0
"""Seconds."""

_DOCUMENTS = 60


class Slow(HashEmbedder):
    """Takes its time, so that a kill may come before, during and after encoding."""

    seconds = 0.0

    def encode_passages(self, texts: Sequence[str]) -> Any:
        time.sleep(self.seconds)
        return super().encode_passages(texts)


EMBEDDER = Slow()
CHUNKING = build(
    composed("ingest", "chunking=section", "chunking.size=64", "chunking.overlap=8").chunking, embedder=EMBEDDER
)
IDENTITY = {"embedder": EMBEDDER.identity, "chunking": CHUNKING.identity}


def document(name: str, state: int, parts: int, filler: str = "") -> Document:
    """A document whose every passage tells its state, which part it is, and of how many."""
    texts = [f"common state {state} part {n} of {parts} {filler}".strip() for n in range(1, parts + 1)]
    starts = [sum(len(text) + 2 for text in texts[:n]) for n in range(parts)]
    sections = [Section((f"part {n}",), s, s + len(t)) for n, (s, t) in enumerate(zip(starts, texts, strict=True))]
    return Document(name, name, "\n\n".join(texts), tuple(sections), {"source": name})


class Turn:
    """The corpus at a turn: of its documents a third changes each time, and a tenth is absent."""

    def __init__(self, turn: int, filler: str = "", size: int = _DOCUMENTS) -> None:
        self._turn, self._filler, self._size = turn, filler, size

    def documents(self) -> Iterator[Document]:
        for n in range(self._size):
            if (n + self._turn) % 10:
                yield document(f"d{n:03}", self._turn - (self._turn + n) % 3, 1 + n % 4, self._filler)


def opened(args: argparse.Namespace, *overrides: str) -> Index:
    """The index under test, as `ingest.py` would build it."""
    options = [f"index={args.index}", "index.name=faults", *overrides]
    if args.index == "lance":
        options.append(f"index.path={args.path}")
    else:
        options += ["index.algorithm=flat", f"index.lease_seconds={LEASE}"]
        lease.machine = lambda: None  # as on a machine of its own: the lease of one that was killed must run out
        reading.GRACE = 0.3  # searches take less here
    index: Index = build(composed("ingest", *options).index, identity=IDENTITY)
    return index


def work(pipe: Connection, args: argparse.Namespace) -> None:
    """A process that is killed: does the job that it is told."""
    index = opened(args)
    EMBEDDER.seconds = 0.02
    task = pipe.recv()
    corpus, deadline = Turn(task["turn"], task.get("filler", "")), time.monotonic() + 60
    while True:
        try:
            if task["job"] == "update":
                update(WINDOW, 0, 1, False, False, corpus, CHUNKING, EMBEDDER, index)
            else:
                rebuild(WINDOW, False, corpus, CHUNKING, EMBEDDER, index)
            return
        except InputError as error:  # the lease of the one that was killed has not run out yet
            if "is being" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def read(pipe: Connection, args: argparse.Namespace) -> dict[str, Any]:
    """A process that searches, with pauses, until it is told to end; what it saw."""
    index, seconds, faults = opened(args), list[float](), Counter[str]()
    requests = [Request(1000, text="common"), Request(1000, vector=EMBEDDER.encode_queries(["common"])[0].tolist())]
    while not pipe.poll(0.05):
        start = time.perf_counter()
        try:
            faults.update(inconsistent(*index.search(requests)))
        except (CdsframeError, RuntimeError, OSError, ValueError) as error:
            faults[f"{type(error).__name__}: {str(error)[:300]}"] += 1
        seconds.append(time.perf_counter() - start)
    return {"searches": len(seconds), "p95": percentile(seconds, 0.95), "faults": dict(faults)}


def inconsistent(by_words: list[Hit], by_vector: list[Hit]) -> list[str]:
    """What no reader may see."""
    faults = []
    if sorted(hit.passage.id for hit in by_words) != sorted(hit.passage.id for hit in by_vector):
        faults.append("two commits in one search")
    states: dict[str, list[tuple[str, int, int]]] = {}
    for hit in by_words:
        _, _, state, _, part, _, parts = hit.passage.text.split()[:7]
        states.setdefault(hit.passage.document_id, []).append((state, int(part), int(parts)))
    for seen in states.values():
        if sorted(part for _, part, _ in seen) != list(range(1, seen[0][2] + 1)):
            faults.append("half a document")
        if len({state for state, _, _ in seen}) > 1:
            faults.append("two states of a document")
    return faults


def compare(index: Index, documents: Sequence[Document]) -> dict[str, int]:
    """What the index lacks and what it has too much, against one that was filled without interruption."""
    whole = MemoryIndex(IDENTITY)
    records = [record for document in documents for record in CHUNKING.split(document)]
    whole.write(records, HashEmbedder.encode_passages(EMBEDDER, [record.search_text for record in records]))
    whole.commit()
    ids = sorted({*index.documents(), *whole.documents()})
    found = Counter(record for level in LEVELS for record in _hashable(index, ids, level))
    expected = Counter(record for level in LEVELS for record in _hashable(whole, ids, level))
    return {
        "lost": (expected - found).total(),
        "duplicated": (found - expected).total(),
        "digests": int(index.digest != whole.digest or dict(index.levels) != dict(whole.levels)),
    }


def _hashable(index: Index, ids: Sequence[str], level: Any) -> list[tuple[str, str, str]]:
    return [(record.id, record.digest, record.text) for record in index.passages(ids, level)]


class Process:
    """One of them, imported and waiting for what it is told."""

    def __init__(self, role: str, args: argparse.Namespace) -> None:
        nest = multiprocessing.get_context("forkserver")
        nest.set_forkserver_preload([__name__, *(["elasticsearch"] if args.index == "elasticsearch" else [])])
        self._pipe, there = nest.Pipe()
        plain = argparse.Namespace(index=args.index, path=str(args.path))
        self._process = nest.Process(target=_run, args=(role, there, plain, dict(os.environ)), daemon=True)
        self._process.start()
        there.close()
        if self._pipe.recv() != "ready":
            raise RuntimeError("it did not start")

    def tell(self, **task: Any) -> None:
        """What it is to do, or that it is to end."""
        self._pipe.send(task)

    def result(self, seconds: float) -> Any:
        """What it found. Raises TimeoutError where it goes on, RuntimeError with what it says went wrong."""
        if not self._pipe.poll(seconds):
            raise TimeoutError
        fault, found = self._pipe.recv()
        self._process.join()
        if fault:
            raise RuntimeError(fault)
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _run(role: str, pipe: Connection, args: argparse.Namespace, environment: dict[str, str]) -> None:
    os.environ.update(environment)  # the process that it was forked from may be older than the server
    tqdm.set_lock(RLock())  # else it makes one for all processes, which those that are killed leave behind
    pipe.send("ready")
    try:
        found = {"work": work, "read": read}[role](pipe, args)
    except Exception as error:  # noqa: BLE001 (it is raised on the other side)
        pipe.send((f"{type(error).__name__}: {error}", None))
    else:
        pipe.send((None, found))
