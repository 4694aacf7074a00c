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
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.faults_processes import CHUNKING, EMBEDDER, LEASE, WINDOW, Process, Turn, compare, document, opened
from benchmarks.measuring import elasticsearch, headline, last_line
from cdsframe.errors import ConfigError
from cdsframe.ingestion.live import Live
from cdsframe.ingestion.update import update
from cdsframe.types import Document


def kills(args: argparse.Namespace) -> dict[str, Any]:
    """Kills until it has killed as often as was asked for."""
    generator, index = random.Random(args.seed), opened(args)
    durations, counts, acknowledged = {"update": 1.0, "rebuild": 1.0}, Counter[str](), dict[str, Document]()
    turn, reader = 0, None
    waits = {"update": LEASE, "rebuild": 2 * LEASE} if args.index == "elasticsearch" else {}  # for what a dead one held
    while counts["kills"] < args.kills or turn < 3:
        turn += 1
        job = "rebuild" if turn % 3 == 0 else "update"
        tries = 0
        while True:
            if job == "rebuild" and not index.rebuilding:
                acknowledged.clear()  # it has not begun, or was killed after its end: the corpus alone counts
            process = Process("work", args)
            process.tell(job=job, turn=turn)
            start = time.perf_counter()
            spare = turn < 4 or counts["kills"] >= args.kills  # each job ends once unharmed, which tells its duration
            try:
                process.result(300 if spare else generator.uniform(0, waits.get(job, 0) + 1.1 * durations[job]))
            except TimeoutError:
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
            if spare:
                durations[job] = time.perf_counter() - start
            break
        if job == "update":
            acknowledged.clear()  # the index holds exactly the corpus now
        counts.update(compare(index, [*Turn(turn).documents(), *acknowledged.values()]))
        print(
            f"turn {turn}: {job} killed {tries} times, then done in {time.perf_counter() - start:.1f} s; "
            f"{counts['kills']} kills in all; {dict(counts)}",
            flush=True,
        )
        if reader is None:
            reader = Process("read", args)
    assert reader is not None
    reader.tell(end=True)
    seen = reader.result(60)
    for fault, times in seen["faults"].items():
        print(f"reader: {times} x {fault}")
    figures: dict[str, Any] = {name: counts[name] for name in ("kills", "lost", "duplicated", "unseen", "digests")}
    figures |= {"turns": turn, "failed": sum(seen["faults"].values()), "searches": seen["searches"]}
    return figures | {"search_p95_seconds": seen["p95"]}


def no_space(args: argparse.Namespace) -> str:
    """An update that does not fit: what became of the index of before, in words."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "cdsframe", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return "not tried: no right to mount a small tmpfs"
        try:
            small = argparse.Namespace(index="lance", path=folder)
            index = opened(small)
            update(WINDOW, 0, 1, False, False, Turn(1), CHUNKING, EMBEDDER, index)
            process = Process("work", small)
            words = random.Random(args.seed)
            process.tell(job="update", turn=2, filler=" ".join(words.randbytes(8).hex() for _ in range(10_000)))
            told = ""
            try:
                process.result(300)
            except RuntimeError as error:
                told = str(error)
            faults = compare(index, list(Turn(1).documents()))
            subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)
            update(WINDOW, 0, 1, False, False, Turn(1), CHUNKING, EMBEDDER, index)
            again = compare(index, list(Turn(1).documents()))
            intact = "no space left" in told and not any((*faults.values(), *again.values()))
            return "intact" if intact else f"not intact: {faults}, then {again}; {told[-300:]}"
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", choices=["lance", "elasticsearch"], default="lance")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
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
