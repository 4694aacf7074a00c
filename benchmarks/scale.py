"""How an index grows: build time, size, memory, latency and recall of a million made-up passages.

    CDSFRAME_DATA=FOLDER python benchmarks/scale.py --index lance --passages 1000000
    CDSFRAME_DATA=FOLDER python benchmarks/scale.py --index lance-ann --passages 1000000
    CDSFRAME_DATA=FOLDER python benchmarks/scale.py --index elasticsearch --passages 100000

`lance` is our own index, whose kNN compares every vector; `lance-ann` shows what LanceDB's approximate indexes would
bring on the same vectors; `elasticsearch` takes each algorithm in turn, and stops loading after `--minutes`. Recall@10
is against brute force in numpy, with MedQuAD's questions. See `synthetic.py` for what the passages are.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import (
    OUTPUTS,
    Server,
    composed,
    elasticsearch,
    headline,
    last_line,
    medquad_queries,
    percentile,
)
from benchmarks.synthetic import Synthetic
from benchmarks.vectors import KeptVectors, minilm
from cdsframe.config import build
from cdsframe.contracts import Index
from cdsframe.types import Hit, Request

CANDIDATES, K = 100, 10

Figures = dict[str, float]


def rss(pids: Iterable[int] = ()) -> float:
    """Megabytes that processes hold in memory now; without pids, the most that this one ever held."""
    if not (pids := list(pids)):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def latency(search: Callable[[int], Any], count: int) -> dict[str, float]:
    """p50 and p95 in ms of `search(0) … search(count - 1)`, after five to warm up."""
    seconds = []
    for number in [*range(5), *range(count)]:
        start = time.perf_counter()
        search(number)
        seconds.append((time.perf_counter() - start) * 1e3)
    return {"p50_ms": percentile(seconds[5:], 0.5), "p95_ms": percentile(seconds[5:], 0.95)}


def recall(found: Sequence[Sequence[int]], gold: np.ndarray) -> float:
    """The mean share of the truly nearest that were found."""
    return float(
        np.mean([len(set(row) & set(true)) / len(true) for row, true in zip(found, gold.tolist(), strict=True)])
    )


def fill(index: Index, synthetic: Synthetic, count: int, minutes: float = 1e9) -> Figures:
    """Writes and commits; how long it took and how many went in."""
    start, written = time.perf_counter(), 0
    with index.writer():
        for passages, vectors in synthetic.batches(count):
            index.write(passages, vectors)
            written += len(passages)
            print(f"  {written} in {time.perf_counter() - start:.0f} s", flush=True)
            if time.perf_counter() - start > minutes * 60:
                break
        loaded = time.perf_counter()
        index.commit(optimize=True)
    return {"passages": written, "write_s": loaded - start, "commit_s": time.perf_counter() - loaded}


def searched(index: Index, queries: Mapping[str, np.ndarray], gold: np.ndarray, legs: int) -> Figures:
    """Latency of BM25, kNN and both in one call, and the recall of kNN."""
    texts, vectors = list(queries), [vector.tolist() for vector in queries.values()]

    def words(number: int) -> list[Request]:
        return [Request(CANDIDATES, text=texts[number])]

    def near(number: int) -> list[Request]:
        return [Request(CANDIDATES, vector=vectors[number])]

    def numbers(hits: Sequence[Hit]) -> list[int]:
        return [int(hit.passage.id) for hit in hits[:K]]

    found = [numbers(index.search(near(number))[0]) for number in range(len(texts))]
    figures: Figures = {"recall@10": recall(found, gold)}
    figures |= {f"knn_{key}": value for key, value in latency(lambda n: index.search(near(n)), legs).items()}
    figures |= {f"bm25_{key}": value for key, value in latency(lambda n: index.search(words(n)), legs).items()}
    both = latency(lambda n: index.search([*words(n), *near(n)]), legs)
    return figures | {f"both_{key}": value for key, value in both.items()}


# ------------------------------------------------------------------------------------------------ what is measured


def lance(synthetic: Synthetic, count: int, queries: Mapping[str, np.ndarray]) -> dict[str, Figures]:
    """Our index in a folder."""
    folder = OUTPUTS / "scale"
    cfg = composed("ingest", "index=lance", f"index.path={folder}", f"index.name=lance-{count}")
    index = build(cfg.index, identity=synthetic.identity)
    figures: Figures = {"passages": count}
    if index.digest is None:
        figures = fill(index, synthetic, count)
    figures["disk_mb"] = megabytes(folder / f"lance-{count}")
    gold = synthetic.nearest(np.stack(list(queries.values())), count, K)
    figures |= searched(index, queries, gold, len(queries) // 2)
    vectors = [vector.tolist() for vector in queries.values()]
    tenth = [Request(CANDIDATES, vector=vector, filter={"source": "source-3"}) for vector in vectors]
    narrow = latency(lambda n: index.search([tenth[n]]), len(queries) // 2)
    figures |= {f"knn_of_a_tenth_{key}": value for key, value in narrow.items()}
    return {"lance, exact": {**figures, "peak_rss_mb": rss()}}


def lance_ann(synthetic: Synthetic, count: int, queries: Mapping[str, np.ndarray]) -> dict[str, Figures]:
    """LanceDB's own approximate indexes over the vectors alone, and its exact scan beside them."""
    import lancedb
    import pyarrow as pa
    from lancedb.index import HnswSq, IvfPq, IvfRq

    folder = OUTPUTS / "scale/ann"
    shutil.rmtree(folder, ignore_errors=True)
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("vector", pa.list_(pa.float32(), 384))])
    table = lancedb.connect(folder, read_consistency_interval=timedelta(0)).create_table("vectors", schema=schema)
    for first in range(0, count, 20_000):
        numbers = range(first, min(first + 20_000, count))
        table.add(pa.table({"id": list(numbers), "vector": list(synthetic.vectors(numbers))}, schema=schema))
    table.optimize()
    asked = list(queries.values())
    gold = synthetic.nearest(np.stack(asked), count, K)
    partitions = int(count**0.5)
    rows: dict[str, Figures] = {}

    def search(number: int, nprobes: int, refine: int) -> list[int]:
        query = (
            table.search(asked[number]).distance_type("cosine").nprobes(nprobes).limit(K).select(["id", "_distance"])
        )
        return (query.refine_factor(refine) if refine else query).to_arrow()["id"].to_pylist()

    def row(name: str, nprobes: int, refine: int, **more: float) -> None:
        found = [search(number, nprobes, refine) for number in range(len(asked))]
        rows[name] = {"recall@10": recall(found, gold), **latency(lambda n: search(n, nprobes, refine), 50), **more}
        print(name, rows[name], flush=True)

    row("exact scan", 1, 0, disk_mb=megabytes(folder))
    for name, made in (
        ("IVF_PQ", IvfPq(distance_type="cosine", num_partitions=partitions, num_sub_vectors=48)),
        ("IVF_RQ", IvfRq(distance_type="cosine", num_partitions=partitions)),
        ("IVF_HNSW_SQ", HnswSq(distance_type="cosine", num_partitions=max(1, count // 250_000))),
    ):
        before, start = megabytes(folder), time.perf_counter()
        table.create_index("vector", config=made, replace=True)
        built = time.perf_counter() - start
        more = {"build_s": built, "index_mb": megabytes(folder) - before}
        for nprobes, refine in ((20, 0), (20, 10), (50, 10)) if "HNSW" not in name else ((4, 0), (4, 5)):
            row(f"{name}, {nprobes} probes, refine {refine}", nprobes, refine, **more)
        table.drop_index("vector_idx")
    return rows


def on_elasticsearch(
    synthetic: Synthetic, count: int, queries: Mapping[str, np.ndarray], algorithms: Sequence[str], minutes: float
) -> dict[str, Figures]:
    """Our index on a server, by each algorithm, alone on it."""
    rows = {}
    for algorithm in algorithms:
        with elasticsearch("2g") as server:
            name = f"bench-scale-{algorithm.replace('_', '-')}"
            cfg = composed("ingest", "index=elasticsearch", f"index.name={name}", f"index.algorithm={algorithm}")
            index = build(cfg.index, identity=synthetic.identity)
            figures = fill(index, synthetic, count, minutes)
            gold = synthetic.nearest(np.stack(list(queries.values())), int(figures["passages"]), K)
            figures |= searched(index, queries, gold, len(queries) // 2)
            figures |= stored(server, name)
            rows[f"elasticsearch, {algorithm}"] = {**figures, "server_rss_mb": rss(server.pids)}
            print(algorithm, json.dumps(rows[f"elasticsearch, {algorithm}"]), flush=True)
    return rows


def stored(server: Server, name: str) -> Figures:
    """Sizes that the server tells of an index."""
    with urlopen(f"{server.url}/{name}*/_stats/store,docs,dense_vector,segments") as answer:
        total = json.load(answer)["_all"]["primaries"]
    off_heap = total.get("dense_vector", {}).get("off_heap", {}).get("total_size_bytes", 0)
    return {
        "disk_mb": total["store"]["size_in_bytes"] / 1e6,
        "vectors_off_heap_mb": off_heap / 1e6,
        "segments": total.get("segments", {}).get("count", 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", choices=["lance", "lance-ann", "elasticsearch"], default="lance")
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--algorithm", nargs="+", default=["int8_hnsw", "bbq_hnsw", "flat"])
    parser.add_argument("--minutes", type=float, default=10, help="of loading for each algorithm (default 10)")
    arguments = parser.parse_args()
    headline(f"scale, {arguments.index}")
    synthetic = Synthetic()
    texts = list(dict.fromkeys(medquad_queries("val").values()))[: arguments.queries]
    queries = dict(zip(texts, KeptVectors(minilm()).encode_queries(texts), strict=True))
    if arguments.index == "elasticsearch":
        rows = on_elasticsearch(synthetic, arguments.passages, queries, arguments.algorithm, arguments.minutes)
    else:
        rows = (lance if arguments.index == "lance" else lance_ann)(synthetic, arguments.passages, queries)
    for name, figures in rows.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    last_line(**{f"{name}: {key}": float(value) for name, figures in rows.items() for key, value in figures.items()})


if __name__ == "__main__":
    main()
