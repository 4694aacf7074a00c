"""Whether anything is lost: an ingesting process is killed at random moments while another process searches.

    python -m benchmarks.faults_ingest --index lance --kills 50
    python -m benchmarks.faults_ingest --index elasticsearch --kills 50

Updates and rebuilds of a small corpus that changes from turn to turn are killed (`kill -9`) at a moment drawn uniformly
from their whole duration, and started again until they end; between, single documents are put and acknowledged. After
each turn the index must have the same records, counts and digest as one in memory that was filled without interruption.
A reader searches by words and by vectors all the time: no search may fail, and none may see half a document, two states
of one, or two commits in its two lists. Then, for the index on disk, an update where no space is left.

Counted: `lost` records that are not there, `duplicated` ones that are there twice or should not be, `failed` searches,
acknowledged documents that were `unseen`, turns whose `digests` or counts differ.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.measuring import composed, elasticsearch, headline, last_line, percentile
from cdsframe.config import build
from cdsframe.embedder import HashEmbedder
from cdsframe.errors import CdsframeError, ConfigError, InputError
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.live import Live
from cdsframe.ingestion.rebuild import rebuild
from cdsframe.ingestion.update import update
from cdsframe.types import LEVELS, Document, Hit, Index, Request, Section

_DOCUMENTS = 60
_WINDOW = 8


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

    def __init__(self, turn: int, filler: str = "") -> None:
        self._turn, self._filler = turn, filler

    def documents(self) -> Iterator[Document]:
        for n in range(_DOCUMENTS):
            if (n + self._turn) % 10:
                yield document(f"d{n:03}", self._turn - (self._turn + n) % 3, 1 + n % 4, self._filler)


def opened(args: argparse.Namespace) -> Index:
    """The index under test, as `ingest.py` would build it."""
    options = [f"index={args.index}", "index.name=faults"]
    options += (
        [f"index.path={args.path}"] if args.index == "lance" else ["index.algorithm=flat", "index.lease_seconds=2"]
    )
    index: Index = build(composed("ingest", *options).index, identity=IDENTITY)
    return index


# ------------------------------------------------------------------------------------------------ the processes


def work(args: argparse.Namespace) -> None:
    """A process that is killed: does the job that a line names, once it is told."""
    index = opened(args)
    EMBEDDER.seconds = 0.02
    print("ready", flush=True)
    task = json.loads(sys.stdin.readline())
    corpus, deadline = Turn(task["turn"], task.get("filler", "")), time.monotonic() + 60
    while True:
        try:
            if task["job"] == "update":
                update(_WINDOW, 0, 1, corpus, CHUNKING, EMBEDDER, index)
            else:
                rebuild(_WINDOW, corpus, CHUNKING, EMBEDDER, index)
            print("done", flush=True)
            return
        except InputError:  # the lease of the one that was killed has not run out yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def read(args: argparse.Namespace) -> None:
    """A process that searches until its input ends, and tells what it saw."""
    index, seconds, faults = opened(args), list[float](), Counter[str]()
    requests = [Request(1000, text="common"), Request(1000, vector=EMBEDDER.encode_queries(["common"])[0].tolist())]
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        start = time.perf_counter()
        try:
            faults.update(inconsistent(*index.search(requests)))
        except (CdsframeError, RuntimeError, OSError, ValueError) as error:
            faults[f"{type(error).__name__}: {str(error)[:300]}"] += 1
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"searches": len(seconds), "p95": percentile(seconds, 0.95), "faults": faults}), flush=True)


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


class Process:
    """One of them, imported and waiting."""

    def __init__(self, role: str, args: argparse.Namespace) -> None:
        command = [sys.executable, "-m", "benchmarks.faults_ingest", "--role", role, "--index", args.index]
        command += ["--path", str(args.path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def start(self, **task: Any) -> None:
        """Waits until it is ready, and tells it what to do."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(self._process.communicate()[1][-2000:])
        if task:
            print(json.dumps(task), file=self._process.stdin, flush=True)

    def wait(self, seconds: float | None) -> tuple[int, str, str]:
        """Its exit code, output and errors. Raises TimeoutExpired where it goes on."""
        out, err = self._process.communicate(timeout=seconds)
        return self._process.returncode, out, err

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


# ------------------------------------------------------------------------------------------------ the trials


def kills(args: argparse.Namespace) -> dict[str, Any]:
    """Kills until it has killed as often as was asked for."""
    generator, index = random.Random(args.seed), opened(args)
    durations, counts, acknowledged = {"update": 1.0, "rebuild": 1.0}, Counter[str](), dict[str, Document]()
    turn, waiting = 0, Process("work", args)
    reader = None
    while counts["kills"] < args.kills or turn < 3:
        turn += 1
        job = "rebuild" if turn % 3 == 0 else "update"
        tries = 0
        while True:
            if job == "rebuild" and not index.rebuilding:
                acknowledged.clear()  # it has not begun, or was killed after its end: the corpus alone counts
            process, waiting = waiting, Process("work", args)
            process.start(job=job, turn=turn)
            start = time.perf_counter()
            spare = turn < 4 or counts["kills"] >= args.kills  # each job ends once unharmed, which tells its duration
            try:
                code, _, err = process.wait(300 if spare else generator.uniform(0, 1.1 * durations[job]))
            except subprocess.TimeoutExpired:
                process.kill()
                counts["kills"] += 1
                tries += 1
                if generator.random() < 0.3:
                    name = f"live-{counts['kills']}"
                    with Live(60, CHUNKING, EMBEDDER, index) as live:
                        live.put([document(name, turn, 2)])
                    acknowledged[name] = document(name, turn, 2)
                    counts["unseen"] += not index.passages([name])
                continue
            if code:
                raise RuntimeError(err[-2000:])
            if spare:
                durations[job] = time.perf_counter() - start
            break
        if job == "update":
            acknowledged.clear()  # the index holds exactly the corpus now
        counts.update(compare(index, [*Turn(turn).documents(), *acknowledged.values()]))
        print(f"turn {turn}: {job} killed {tries} times, {counts['kills']} in all; {dict(counts)}", flush=True)
        if reader is None:
            reader = Process("read", args)
            reader.start()
    waiting.kill()
    assert reader is not None
    code, out, err = reader.wait(60)
    if code:
        raise RuntimeError(err[-2000:])
    seen = json.loads(out.splitlines()[-1])
    for fault, times in seen["faults"].items():
        print(f"reader: {times} x {fault}")
    figures: dict[str, Any] = {name: counts[name] for name in ("kills", "lost", "duplicated", "unseen", "digests")}
    figures |= {"turns": turn, "failed": sum(seen["faults"].values()), "searches": seen["searches"]}
    return figures | {"search_p95_seconds": seen["p95"]}


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


def no_space(args: argparse.Namespace) -> str:
    """An update that does not fit: what became of the index of before, in words."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "cdsframe", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return "not tried: no right to mount a small tmpfs"
        try:
            small = argparse.Namespace(index="lance", path=folder)
            index = opened(small)
            update(_WINDOW, 0, 1, Turn(1), CHUNKING, EMBEDDER, index)
            process = Process("work", small)
            words = random.Random(args.seed)
            process.start(job="update", turn=2, filler=" ".join(words.randbytes(8).hex() for _ in range(10_000)))
            code, _, err = process.wait(300)
            told = "no space left" in err.splitlines()[-1]
            faults = compare(index, list(Turn(1).documents()))
            subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)
            update(_WINDOW, 0, 1, Turn(1), CHUNKING, EMBEDDER, index)
            again = compare(index, list(Turn(1).documents()))
            intact = code and told and not any((*faults.values(), *again.values()))
            return "intact" if intact else f"not intact: {faults}, then {again}; {err[-300:]}"
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", choices=["lance", "elasticsearch"], default="lance")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--role", choices=["work", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--path", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        {"work": work, "read": read}[args.role](args)
        return
    headline(f"kill -9 while ingesting into {args.index}")
    with tempfile.TemporaryDirectory() as folder, elasticsearch("512m") if args.index != "lance" else nullcontext():
        args.path = Path(folder)
        figures = kills(args)
        if args.index == "lance":
            figures["no_space"] = no_space(args)
            print(f"no space left: the index of before is {figures['no_space']}")
    last_line(index=args.index, **figures)


if __name__ == "__main__":
    try:
        main()
    except ConfigError as error:
        sys.exit(str(error))
