"""How fast passages are found: every retriever on both indexes, one client and eight, beside the peers' hybrid search.

    CDSFRAME_DATA=FOLDER python benchmarks/retrieval.py

All of MedQuAD (26,310 passages, MiniLM's vectors kept in outputs/benchmarks), its validation and test questions, ten
passages each, lists of 100 from every leg. The questions' vectors are looked up, so that only the searching is timed;
rows `with encoding` have the encoder too. Retrievers take turns in blocks of questions, so that all see the same noise.
Elasticsearch's processor seconds are counted where the server is the one that this starts. The peers: LangChain's
EnsembleRetriever over two retrievers and its one-search hybrid without RRF (RRF needs a licence), Haystack's
ElasticsearchHybridRetriever (with its fuzzy words, and without), on the same server, and bm25s in memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import nDCG

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import (
    OUTPUTS,
    ROOT,
    Clock,
    Peer,
    Server,
    composed,
    data_folder,
    elasticsearch,
    headline,
    last_line,
    medquad_queries,
    percentile,
)
from benchmarks.vectors import KeptVectors, Precomputed, minilm
from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.run import processor
from cdsframe.config import build
from cdsframe.contracts import Embedder, Retriever
from cdsframe.types import Document, Passage

TOP_K, CANDIDATES = 10, 100

Ids = list[str]


@dataclass
class Way:
    """One way of searching, and what was measured of it."""

    name: str
    search: Callable[[list[str], int], tuple[list[float], list[Ids], float]]
    """Queries and clients -> each query's seconds, its passages' ids, processor seconds."""
    seconds: dict[int, list[float]] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    server: dict[int, float] = field(default_factory=dict)
    wall: dict[int, float] = field(default_factory=dict)
    found: dict[str, Ids] = field(default_factory=dict)

    def block(self, queries: Mapping[str, str], clients: int, server: Server) -> None:
        """Measures one block of queries."""
        with Clock(server.pids) as clock:
            seconds, found, cpu = self.search(list(queries.values()), clients)
        self.seconds.setdefault(clients, []).extend(seconds)
        self.cpu[clients] = self.cpu.get(clients, 0) + cpu
        self.server[clients] = self.server.get(clients, 0) + clock.spent.server
        self.wall[clients] = self.wall.get(clients, 0) + clock.spent.wall
        self.found |= dict(zip(queries, found, strict=True))

    def p(self, share: float, clients: int = 1) -> float:
        return percentile(self.seconds[clients], share)


def by(retriever: Retriever) -> Callable[[list[str], int], tuple[list[float], list[Ids], float]]:
    """Searches with one of our retrievers, by so many threads."""

    def timed(query: str) -> tuple[float, Ids]:
        start = time.perf_counter()
        hits = retriever.search(query)
        return time.perf_counter() - start, [hit.passage.id for hit in hits]

    def search(queries: list[str], clients: int) -> tuple[list[float], list[Ids], float]:
        with ThreadPoolExecutor(clients) as pool, Clock() as clock:
            results = list(pool.map(timed, queries)) if clients > 1 else [timed(query) for query in queries]
        return [seconds for seconds, _ in results], [found for _, found in results], clock.spent.cpu

    return search


def by_peer(
    peer: Peer, form: str, url: str, index: str
) -> Callable[[list[str], int], tuple[list[float], list[Ids], float]]:
    """Searches with a peer."""
    peer("open", form=form, url=url, index=index, top_k=TOP_K, num_candidates=CANDIDATES)

    def search(queries: list[str], clients: int) -> tuple[list[float], list[Ids], float]:
        answer = peer("search", form=form, queries=queries, clients=clients)
        return answer["seconds"], answer["found"], answer["cpu"]

    return search


# ------------------------------------------------------------------------------------------------ what is searched


def indexed(kind: str, embedder: Embedder) -> Any:
    """All of MedQuAD in an index of that kind, by `ingest.py`'s own composition."""
    chunking = build(composed("ingest").chunking, embedder=embedder)
    identity = {"embedder": embedder.identity, "chunking": chunking.identity}
    cfg = composed("ingest", "corpus=medquad", f"index={kind}", f"index.name=bench-{digest(json.dumps(identity))[:8]}")
    index = build(cfg.index, identity=identity)
    with Clock() as clock:
        report = build(
            cfg.ingestion,
            corpus=build(cfg.corpus, metadata_fields=()),
            chunking=chunking,
            embedder=embedder,
            index=index,
        )
    print(f"{kind}: {report.text.splitlines()[0]}, {clock.spent.wall:.0f} s", flush=True)
    return index


def retriever(name: str, index: Any, embedder: Embedder) -> Retriever:
    """As evaluate.py composes it."""
    cfg = composed(
        "evaluate", f"retriever={name}", f"retriever.top_k={TOP_K}", f"retriever.num_candidates={CANDIDATES}"
    )
    return build(cfg.retriever, index=index, embedder=embedder, fusion=build(cfg.fusion))


def retrievers() -> list[str]:
    """Every option that searches."""
    names = sorted(file.stem for file in (ROOT / "configs/retriever").glob("*.yaml"))
    order = ["bm25", "knn", "hybrid", "hierarchical"]
    return sorted(set(names) - {"none", "gold", "random"}, key=lambda name: [*order, name].index(name))


def passages() -> list[Passage]:
    """MedQuAD's, as the peers get them."""
    cfg = composed("ingest", "corpus=medquad", "chunking.levels=[]")
    chunking = build(cfg.chunking, embedder=minilm())
    documents = [item for item in build(cfg.corpus, metadata_fields=()).documents() if isinstance(item, Document)]
    return [passage for document in documents for passage in chunking.split(document)]


def load_peers(stack: ExitStack, url: str, vectors: Precomputed, queries: Sequence[str]) -> list[Way]:
    """The peers with all of MedQuAD in indexes of their own."""
    flat, array, texts = (OUTPUTS / f"retrieval-{name}" for name in ("flat.jsonl", "vectors.npy", "texts.json"))
    rows = [
        {"id": p.id, "text": p.search_text, "metadata": {"id": p.id, "title": p.title, **p.metadata}}
        for p in passages()
    ]
    flat.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    known = sorted({row["text"] for row in rows} | set(queries))
    np.save(array, vectors.encode_passages(known))
    texts.write_text(json.dumps(known), encoding="utf-8")
    ways = []
    for name, forms in (("langchain", ("ensemble", "sum")), ("haystack", ("default", "exact"))):
        peer = stack.enter_context(Peer(name))
        peer("load", vectors=str(array), texts=str(texts))
        spent = peer("ingest", corpus=str(flat), url=url, index=f"bench-{name}", tuned=True)
        print(f"{name}: {len(rows)} passages, {spent['wall']:.0f} s", flush=True)
        for form in forms:
            ways.append(Way(f"{name}, {form}", by_peer(peer, form, url, f"bench-{name}")))
    words = stack.enter_context(Peer("bm25s"))
    return [*ways, Way("bm25s (in memory)", by_peer(words, "default", "", str(flat)))]


# ------------------------------------------------------------------------------------------------ measuring


def in_turns(ways: Sequence[Way], queries: Mapping[str, str], clients: int, block: int, server: Server) -> None:
    """Blocks of the queries, each by all the ways before the next, in another order every time."""
    items = list(queries.items())
    draw = random.Random(1)
    for first in range(0, len(items), block):
        for way in draw.sample(list(ways), len(ways)):
            way.block(dict(items[first : first + block]), clients, server)


def at_once(ours: Retriever, queries: Sequence[str], repetitions: int) -> float:
    """How many times as fast `search_many` of 64 queries is as one search after the other, median."""
    ratios = []
    for _ in range(repetitions):
        with Clock() as single:
            for query in queries[:64]:
                ours.search(query)
        with Clock() as many:
            ours.search_many(list(queries[:64]))
        ratios.append(single.spent.wall / many.spent.wall)
    return float(np.median(ratios))


def quality(ways: Sequence[Way]) -> dict[str, float]:
    """nDCG@10 of each way on the validation questions it was asked."""
    lines = (data_folder() / "medquad/retrieval_qrels_val.tsv").read_text(encoding="utf-8").splitlines()[1:]
    judged = (line.split("\t") for line in lines)
    qrels = [ir_measures.Qrel(query, passage, int(score)) for query, passage, score in judged]
    values = {}
    for way in ways:
        asked = {qrel.query_id for qrel in qrels} & way.found.keys()
        own = [qrel for qrel in qrels if qrel.query_id in asked]
        run = [
            ir_measures.ScoredDoc(query, id_, -rank)
            for query in asked
            for rank, id_ in enumerate(dict.fromkeys(way.found[query]))
        ]
        values[way.name] = ir_measures.calc_aggregate([nDCG @ 10], own, run)[nDCG @ 10]
    return values


def print_table(ways: Sequence[Way], clients: int) -> None:
    values = quality(ways)
    count = len(next(iter(ways)).seconds[clients])
    print(f"\n{clients} client{'s' if clients > 1 else ''}, {count} questions")
    print(f"{'':44}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms':>9}{'server ms':>11}{'per s':>8}{'nDCG@10':>9}")
    for way in ways:
        asked = len(way.seconds[clients])
        print(
            f"{way.name:44}{way.p(0.5, clients) * 1e3:9.1f}{way.p(0.95, clients) * 1e3:9.1f}"
            f"{way.cpu[clients] / asked * 1e3:9.1f}{way.server[clients] / asked * 1e3:11.1f}"
            f"{asked / way.wall[clients]:8.0f}{values[way.name]:9.4f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=300, help="questions asked of each (default 300)")
    parser.add_argument("--block", type=int, default=20, help="questions before the next takes its turn (default 20)")
    parser.add_argument("--index", nargs="+", default=["lance", "elasticsearch"], help="our indexes")
    parser.add_argument("--retriever", nargs="+", default=retrievers(), help="our retrievers")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--repetitions", type=int, default=5, help="of search_many (default 5)")
    arguments = parser.parse_args()
    headline("retrieval")

    kept = KeptVectors(minilm())
    asked = medquad_queries("val")
    asked = dict(random.Random(1).sample(sorted(asked.items()), min(arguments.queries, len(asked))))
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        server = stack.enter_context(elasticsearch("2g")) if needs_server(arguments) else Server("")
        vectors = precomputed(kept, list(asked.values()))
        indexes = {kind: indexed(kind, vectors) for kind in arguments.index}
        made = {
            (kind, name): retriever(name, indexes[kind], vectors) for kind in indexes for name in arguments.retriever
        }
        ways = [Way(f"{kind}: {name}", by(searcher)) for (kind, name), searcher in made.items()]
        real = minilm()
        ways += [
            Way(f"{kind}: hybrid, with encoding", by(retriever("hybrid", index, real)))
            for kind, index in indexes.items()
        ]
        if not arguments.without_peers:
            ways += load_peers(stack, server.url, vectors, list(asked.values()))
        in_turns(ways, asked, 1, len(asked), server)  # everything compiled, connected and cached
        gc.collect()
        gc.freeze()  # the vectors that are looked up: no real process has them to go through
        for way in ways:
            way.seconds, way.cpu, way.server, way.wall = {}, {}, {}, {}
        for clients in (1, 8):
            in_turns(ways, asked, clients, arguments.block * (1 if clients == 1 else 4), server)
            print_table(ways, clients)
        keep(ways, len(asked))
        queries = list(asked.values())
        print()
        for (kind, name), searcher in made.items():
            ratio = at_once(searcher, queries, arguments.repetitions)
            print(f"{kind}: {name}: search_many of 64 is {ratio:.2f} times as fast as one by one", flush=True)
            figures[f"search_many_ratio_{kind}_{name}"] = ratio
    together = [ratio for key, ratio in figures.items() if key.endswith("_hybrid")]
    figures |= ratios(ways, arguments.index) | ({"search_many_ratio": min(together)} if together else {})
    last_line(**figures)


def keep(ways: Sequence[Way], queries: int) -> None:
    """Writes what one client saw, for `benchmarks/tradeoff.py` to draw."""
    values = quality(ways)
    rows = [
        {"name": way.name, "p50_ms": way.p(0.5) * 1e3, "p95_ms": way.p(0.95) * 1e3, "ndcg@10": values[way.name]}
        for way in ways
    ]
    text = json.dumps({"processor": processor(), "queries": queries, "ways": rows}, indent=1)
    (OUTPUTS / "retrieval.json").write_text(text + "\n", encoding="utf-8")


def needs_server(arguments: argparse.Namespace) -> bool:
    return "elasticsearch" in arguments.index or not arguments.without_peers


def precomputed(kept: KeptVectors, queries: Sequence[str]) -> Precomputed:
    """All vectors that indexing and searching need."""
    cfg = composed("ingest", "corpus=medquad")
    chunking = build(cfg.chunking, embedder=minilm())
    documents = [item for item in build(cfg.corpus, metadata_fields=()).documents() if isinstance(item, Document)]
    records = [record for document in documents for record in chunking.split(document)]
    texts = sorted({record.search_text for record in records if record.level in ("passage", "title")})
    vectors = dict(zip(texts, kept.encode_passages(texts), strict=True))
    return Precomputed(kept.identity, vectors | dict(zip(queries, kept.encode_queries(list(queries)), strict=True)))


def ratios(ways: Sequence[Way], indexes: Sequence[str]) -> dict[str, float]:
    """p95 of the hierarchical retrievers over that of the flat hybrid: on each index, and without a name the last's."""
    p95 = {way.name: way.p(0.95) for way in ways}
    figures = {}
    for kind in indexes:
        for key, name in (("hierarchical_p95_ratio", "hierarchical"), ("light_p95_ratio", "hierarchical_light")):
            if f"{kind}: {name}" in p95:
                ratio = p95[f"{kind}: {name}"] / p95[f"{kind}: hybrid"]
                figures[f"{key}_{kind}"] = figures[key] = ratio
    return figures


if __name__ == "__main__":
    main()
