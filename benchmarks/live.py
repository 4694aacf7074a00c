"""How soon a document that is added, replaced or deleted is visible in another process, in an index of MedQuAD.

    CDSFRAME_DATA=FOLDER python -m benchmarks.live --index lance
    CDSFRAME_DATA=FOLDER python -m benchmarks.live --index elasticsearch

The clock starts when the change is handed over, and stops when a search in another process, asked for right after the
acknowledgement, has answered with it (`p95_visible_seconds`). A change that this search does not show yet is counted
(`unseen`). Encoding is excluded: the vectors were computed beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from benchmarks.measuring import composed, data_folder, elasticsearch, headline, last_line, percentile
from benchmarks.vectors import KeptVectors, minilm
from cdsframe.config import build
from cdsframe.contracts import Chunker, Embedder, Index
from cdsframe.corpus.beir import MedQuadPassages
from cdsframe.ingestion.live import Live
from cdsframe.ingestion.update import update
from cdsframe.types import Document, Request


def components(args: argparse.Namespace) -> tuple[Embedder, Chunker, Index]:
    """The embedder, the chunker and the index under test."""
    options = [f"index={args.index}", "index.name=live", "chunking.levels=[]"]  # only passages have kept vectors
    cfg = composed("ingest", *options, *([f"index.path={args.path}"] if args.index == "lance" else []))
    embedder = KeptVectors(minilm())
    chunking = build(cfg.chunking, embedder=embedder)
    return embedder, chunking, build(cfg.index, identity={"embedder": embedder.identity, "chunking": chunking.identity})


def read(args: argparse.Namespace) -> None:
    """The other process: says of each author that it is asked for how many passages it finds."""
    *_, index = components(args)
    for line in sys.stdin:
        (hits,) = index.search([Request(100, text="what are the treatments", filter={"author": json.loads(line)})])
        print(len(hits), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", choices=["lance", "elasticsearch"], default="lance")
    parser.add_argument("--turns", type=int, default=100, help="how often one is added, replaced and deleted")
    parser.add_argument("--role", choices=["read"], help=argparse.SUPPRESS)
    parser.add_argument("--path", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        read(args)
        return
    headline(f"changes of single documents in {args.index}")
    with tempfile.TemporaryDirectory() as folder, elasticsearch() if args.index != "lance" else nullcontext():
        args.path = Path(folder)
        measure(args)


def measure(args: argparse.Namespace) -> None:
    embedder, chunking, index = components(args)
    start = time.perf_counter()
    report = update(
        2048, 0, 1, False, False, MedQuadPassages(str(data_folder()), strict=True, name=None), chunking, embedder, index
    )
    print(f"{report.passages} passages ingested in {time.perf_counter() - start:.1f} s, vectors looked up", flush=True)
    pages = [
        item
        for item in MedQuadPassages(str(data_folder()), strict=True, name=None).documents()
        if isinstance(item, Document)
    ]
    pages = [page for page in pages if "treatments" in page.text][: args.turns + 1]
    other = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.live", "--role", "read", "--index", args.index, "--path", str(args.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def found(author: str) -> int:
        assert other.stdin is not None
        assert other.stdout is not None
        print(json.dumps(author), file=other.stdin, flush=True)
        return int(other.stdout.readline())

    acknowledged: dict[str, list[float]] = {"add": [], "replace": [], "delete": []}
    visible: dict[str, list[float]] = {"add": [], "replace": [], "delete": []}
    unseen = 0

    def timed(kind: str, change: Callable[[], None], author: str, wanted: bool) -> None:
        nonlocal unseen
        start = time.perf_counter()
        change()
        acknowledged[kind].append(time.perf_counter() - start)
        unseen += bool(found(author)) != wanted
        visible[kind].append(time.perf_counter() - start)

    found("nobody")
    busy = time.process_time()
    with Live(60, chunking, embedder, index) as live:
        live.remove(["nothing"])
        for turn, (one, two) in enumerate(pairwise(pages)):
            first = replace(one, id="live", metadata={"author": f"first {turn}"})
            second = replace(two, id="live", metadata={"author": f"second {turn}"})
            timed("add", lambda first=first: live.put([first]), f"first {turn}", True)  # type: ignore[misc]
            timed("replace", lambda second=second: live.put([second]), f"second {turn}", True)  # type: ignore[misc]
            unseen += found(f"first {turn}") > 0
            timed("delete", lambda: live.remove(["live"]), f"second {turn}", False)
    for kind, seconds in visible.items():
        print(
            f"{kind}: visible p50 {percentile(seconds, 0.5):.3f} s, p95 {percentile(seconds, 0.95):.3f} s; "
            f"acknowledged p95 {percentile(acknowledged[kind], 0.95):.3f} s"
        )
    busy = time.process_time() - busy
    together = [second for seconds in visible.values() for second in seconds]
    busy /= len(together)
    print(f"processor time of a change in the process that writes: {busy:.3f} s; load average {os.getloadavg()[0]:.0f}")
    last_line(
        index=args.index, passages=report.passages, changes=len(together), unseen=unseen, cpu_seconds_per_change=busy,
        p50_visible_seconds=percentile(together, 0.5), p95_visible_seconds=percentile(together, 0.95),
        **{f"p95_{kind}_seconds": percentile(seconds, 0.95) for kind, seconds in visible.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main()
