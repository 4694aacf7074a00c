"""What the benchmarks share: the corpus's sample, clocks, the server, the peers' processes, the last line.

Times on a machine that others use vary up to fourfold: figures to be compared are taken in turns within one run, and
CPU-seconds (of this process, and of a server on this machine) stand beside the wall clock.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from cdsframe.artifacts.run import processor
from cdsframe.corpus.beir import MedQuadPassages
from cdsframe.types import Document

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS = Path("outputs/benchmarks")
PEERS = ROOT / ".peers/bin/python"
"""The peers' environment: `make peers`."""


ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Environment of a process that computes with one thread."""


def composed(primary: str, *overrides: str) -> DictConfig:
    """The configuration that an entry point would run with."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose(primary, list(overrides))


# ------------------------------------------------------------------------------------------------ the corpus


def data_folder() -> Path:
    """The folder that CDSFRAME_DATA names; leaves with one sentence where it names none."""
    if "CDSFRAME_DATA" not in os.environ:
        sys.exit("set CDSFRAME_DATA to the folder that holds medquad/")
    return Path(os.environ["CDSFRAME_DATA"])


def sample(passages: int, seed: int = 1) -> Path:
    """A file of about so many of MedQuAD's passages, whole pages in a seeded order, in the form of `corpus=beir`."""
    file = OUTPUTS / f"medquad-{passages}-{seed}.jsonl"
    if file.is_file():
        return file
    with gzip.open(data_folder() / "medquad/retrieval_corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        pages: dict[str, list[str]] = {}
        for line in lines:
            pages.setdefault(json.loads(line)["document_id"], []).append(line)
    order = sorted(pages)
    random.Random(seed).shuffle(order)
    taken: list[str] = []
    for page in order:
        if len(taken) < passages:
            taken += pages[page]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(taken), encoding="utf-8")
    return file


def medquad_documents() -> list[Document]:
    """All of MedQuAD."""
    return [
        item
        for item in MedQuadPassages(str(data_folder()), strict=True, name=None).documents()
        if isinstance(item, Document)
    ]


def medquad_queries(split: str = "val") -> dict[str, str]:
    """Query id -> question."""
    file = data_folder() / f"medquad/retrieval_queries_{split}.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return {record["query_id"]: record["text"] for record in map(json.loads, lines)}


# ------------------------------------------------------------------------------------------------ clocks


@dataclass(frozen=True)
class Spent:
    """Seconds: by the wall clock, of processor time here, and of processor time in a server on this machine."""

    wall: float
    cpu: float
    server: float


class Clock:
    """`with Clock(pids) as clock: …`, then `clock.spent`.

    Args:
        pids: the processes of a server on this machine, whose processor time is counted too.
    """

    spent: Spent

    def __init__(self, pids: Sequence[int] = ()) -> None:
        self._pids = pids

    def __enter__(self) -> Clock:
        self._start = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.spent = Spent(*(now - then for now, then in zip(self._now(), self._start, strict=True)))

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), sum(map(_processor_seconds, self._pids))


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def middle(spent: Sequence[Spent]) -> Spent:
    """The median of each clock."""
    return Spent(median(s.wall for s in spent), median(s.cpu for s in spent), median(s.server for s in spent))


# ------------------------------------------------------------------------------------------------ servers, processes


@dataclass(frozen=True)
class Server:
    """An Elasticsearch server, and its processes where they run on this machine by our doing."""

    url: str
    pids: tuple[int, ...] = ()


@contextmanager
def elasticsearch(heap: str = "1g") -> Iterator[Server]:
    """The server at CDSFRAME_ELASTICSEARCH_URL, or a test server that is there for as long as this lasts."""
    if url := os.environ.get("CDSFRAME_ELASTICSEARCH_URL"):
        yield Server(url)
        return
    from tests.elasticsearch_server import server

    with server(heap=heap) as running:
        os.environ["CDSFRAME_ELASTICSEARCH_URL"] = url = running.addresses[0]
        try:
            yield Server(url, tuple(running.pids))
        finally:
            del os.environ["CDSFRAME_ELASTICSEARCH_URL"]


class Peer:
    """A process in the peers' environment that does what it is told in lines of JSON (see `peers/worker.py`)."""

    def __init__(self, *arguments: str) -> None:
        if not PEERS.is_file():
            sys.exit("the peers' environment is missing; make it: make peers")
        command = [str(PEERS), str(ROOT / "benchmarks/peers/worker.py"), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, do: str, **arguments: Any) -> Any:
        """The result of one of the worker's functions."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with {self._process.wait()} while it was to {do}")
        return json.loads(line)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


# ------------------------------------------------------------------------------------------------ the output


def run_alone(command: Sequence[str], **environment: str) -> dict[str, Any]:
    """Runs a command in a separate process; returns the JSON object in the last line of its output.

    Ends the benchmark with the end of the command's error output if it fails.
    """
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"a run ended with {done.returncode}:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def headline(benchmark: str) -> None:
    """The first line: what is measured, and on what."""
    print(f"{benchmark} on {processor()}, {os.cpu_count()} cores", flush=True)


def last_line(**figures: Any) -> None:
    """One JSON object, for programs."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"processor": f"{processor()}, {os.cpu_count()} cores", **rounded}))
