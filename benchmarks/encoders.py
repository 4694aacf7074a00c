"""Precision and speed of the encoders: each back end and dtype beside sentence-transformers in float32.

    CDSFRAME_DATA=FOLDER python benchmarks/encoders.py [medquad scifact] [--passages 4000]

For each set: exact kNN over the passages that are judged and random others, and nDCG@10 of its development queries.
`mixed` is an index with one half of its vectors from a machine without bfloat16 units, and queries from a machine with
them. The bound is the lower end of the paired 95 % interval of the difference in nDCG@10 (sign flips over clusters of
queries with a common relevant document); a way is non-inferior if its bound is above -0.003. Passages per CPU-second
are of one thread, in one run, tokenising included. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import data_folder, headline, last_line
from benchmarks.quality import load
from benchmarks.vectors import minilm
from cdsframe.chunking.section import SectionChunker
from cdsframe.embedder import NoEmbedder
from cdsframe.evaluation.ranking import score_rankings
from cdsframe.evaluation.statistics import paired_difference
from cdsframe.types import Document

WAYS = {
    "torch, float32": {"backend": "torch", "compute_dtype": "float32"},
    "torch, bfloat16": {"backend": "torch", "compute_dtype": "bfloat16"},
    "openvino, bfloat16": {"backend": "openvino", "compute_dtype": "bfloat16"},
    "openvino, float32": {"backend": "openvino", "compute_dtype": "float32"},
    "onnx, float32": {"backend": "onnx", "compute_dtype": "float32"},
}
BASE, MARGIN = "torch, float32", 0.003


@dataclass(frozen=True)
class Sample:
    """The judged passages and random others (id -> text), query id -> text, the judgements, each query's document."""

    passages: dict[str, str]
    queries: dict[str, str]
    judged: dict[str, Any]
    groups: list[str]


def sample(name: str, wanted: int, queries: int | None, seed: int = 1) -> Sample:
    corpus, asked, qrels = load(name, data_folder())
    asked = [query for query in asked if any(qrels.get(query.id, {}).values())]
    random.Random(seed).shuffle(asked)
    asked = asked[:queries]
    judged = {query.id: qrels[query.id] for query in asked}
    needed = {id for grades in judged.values() for id in grades}
    chunking = SectionChunker(256, 32, ["title", "heading"], [], None, NoEmbedder())
    documents = (item for item in corpus.documents() if isinstance(item, Document))
    records = {record.id: record for document in documents for record in chunking.split(document)}
    others = sorted(id for id in records if id not in needed)
    random.Random(seed).shuffle(others)
    kept = sorted(id for id in records if id in needed) + others[: max(0, wanted - len(needed))]
    relevant = [[id for id, grade in judged[query.id].items() if grade] for query in asked]
    groups = [min(records[id].document_id for id in ids) for ids in relevant]
    texts = {id: records[id].search_text for id in kept}
    return Sample(texts, {query.id: query.text for query in asked}, judged, groups)


def ndcg(ids: list[str], vectors: np.ndarray, queries: dict[str, np.ndarray], judged: dict[str, Any]) -> list[float]:
    """nDCG@10 of each query by exact kNN."""
    rankings = {}
    for query, vector in queries.items():
        scores = vectors @ vector
        best = np.argpartition(-scores, 10)[:10]
        rankings[query] = [ids[n] for n in best[np.argsort(-scores[best])]]
    return score_rankings(judged, rankings, {"ndcg": "nDCG@10"})["ndcg"]


def measure(name: str, wanted: int, queries: int | None, ways: list[str]) -> dict[str, Any]:
    found = sample(name, wanted, queries)
    ids, texts = [*found.passages], [*found.passages.values()]
    asked, judged, groups = found.queries, found.judged, found.groups
    print(f"\n{name}: {len(ids)} passages, {len(asked)} queries, {len(set(groups))} clusters")
    made: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    speed: dict[str, float] = {}
    for way in ways:
        embedder = minilm(device="cpu", **WAYS[way])
        embedder.encode_passages(texts[:8])
        start = time.process_time()
        vectors = embedder.encode_passages(texts)
        speed[way] = len(texts) / (time.process_time() - start)
        made[way] = vectors, embedder.encode_queries(list(asked.values()))
    exact, half = made[BASE][0], made["torch, bfloat16"][0]
    mixed = np.where((np.arange(len(ids)) % 2 == 0)[:, None], exact, half)
    made["mixed"] = mixed, made["torch, bfloat16"][1]
    scores = {
        way: ndcg(ids, vectors, dict(zip(asked, rows, strict=True)), judged) for way, (vectors, rows) in made.items()
    }
    figures: dict[str, Any] = {}
    print(f"{'':22}{'passages/CPU-s':>15}{'cosine >=':>11}{'nDCG@10':>9}  difference, bound")
    for way, values in scores.items():
        least = float(min((made[way][n] * made[BASE][n]).sum(1).min() for n in (0, 1)))
        difference = paired_difference(scores[BASE], values, groups)
        verdict = "" if way == BASE else "  non-inferior" if difference.low > -MARGIN else "  NOT SHOWN non-inferior"
        rate = f"{speed[way]:15.1f}" if way in speed else " " * 15
        compared = f"{difference.value:+.4f}, > {difference.low:+.4f}{verdict}"
        print(f"{way:22}{rate}{least:11.5f}{np.mean(values):9.4f}  {compared}", flush=True)
        key = f"{name}_{way.replace(', ', '_')}"
        figures |= {f"{key}_ndcg_bound": difference.low, f"{key}_least_cosine": least}
        figures |= {f"{key}_passages_per_cpu_second": speed[way]} if way in speed else {}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["medquad", "scifact"])
    parser.add_argument("--passages", type=int, default=4000, help="of each set (default 4000)")
    parser.add_argument("--queries", type=int, help="of each set, drawn at random (default: all)")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), help="; ".join(WAYS))
    arguments = parser.parse_args()
    headline("encoders")
    figures: dict[str, Any] = {}
    for name in arguments.sets:
        figures |= measure(name, arguments.passages, arguments.queries, arguments.ways)
    last_line(**figures)


if __name__ == "__main__":
    main()
