"""Runs one of the peers in the peers' environment: reads orders from stdin and answers on stdout, in lines of JSON.

    .peers/bin/python benchmarks/peers/worker.py langchain|haystack|bm25s

The peers are set up as their documentation does it; where that leaves a choice, the faster one is measured too. Does
not import cdsframe.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

# What is printed by the way must not come between the answers.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"


class Worker:
    """The orders that a peer understands, around what each peer's module defines."""

    def __init__(self, name: str) -> None:
        self.peer = import_module(f"{name}_peer").Peer()
        self._searchers: dict[str, Any] = {}

    def load(self, vectors: str, texts: str) -> int:
        """Takes in what was embedded beforehand: an array `[n, dimension]` and a JSON list of its n texts."""
        import numpy as np

        rows = np.load(vectors).tolist()
        self.peer.vectors = dict(zip(json.loads(Path(texts).read_text(encoding="utf-8")), rows, strict=True))
        gc.collect()
        gc.freeze()  # no real process has them to go through when it looks for what it no longer needs
        return len(rows)

    def load_model(self, folder: str, threads: int) -> bool:
        """Makes the encoder ready, with so many threads."""
        import torch

        torch.set_num_threads(threads)
        self.peer.load_model(folder)
        return True

    def ingest(self, corpus: str, url: str, index: str, tuned: bool = False, embed: bool = False) -> dict[str, float]:
        """Reads a file of passages and writes them all; answers when they can be found."""
        store = self.peer.open(url, index, embed)
        wall, cpu = time.perf_counter(), time.process_time()
        with open(corpus, encoding="utf-8") as lines:
            self.peer.write(store, (json.loads(line) for line in lines), tuned, embed)
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def open(self, form: str, url: str, index: str, top_k: int, num_candidates: int) -> bool:
        """Makes ready for `search`."""
        self._searchers[form] = self.peer.searcher(url, index, form, top_k, num_candidates)
        return True

    def search(self, form: str, queries: list[str], clients: int = 1) -> dict[str, Any]:
        """One search after the other, by each of the clients, who share the queries; seconds of each."""

        def timed(query: str) -> tuple[float, list[str]]:
            start = time.perf_counter()
            found = self._searchers[form](query)
            return time.perf_counter() - start, found

        wall, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(clients) as pool:
            results = list(pool.map(timed, queries)) if clients > 1 else [timed(query) for query in queries]
        return {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "seconds": [seconds for seconds, _ in results],
            "found": [found for _, found in results],
        }


def main() -> None:
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(worker, order.pop("do"))(**order)
        print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
