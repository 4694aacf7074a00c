"""How well each form of retrieval finds the relevant passages of MedQuAD, FairytaleQA and SciFact.

    CDSFRAME_DATA=FOLDER python benchmarks/quality.py [medquad fairytaleqa scifact] [--index lance|elasticsearch|memory]

Vectors of MiniLM, kept in outputs/benchmarks (the first run encodes: half an hour of one core for all three). Beside
each form stands its difference in nDCG@10 to the flat hybrid: paired by query, sign flips over clusters of queries that
share a page (MedQuAD) or a story (FairytaleQA); p adjusted by Holm, but for the one comparison that was planned. Writes
outputs/benchmarks/quality-SET-INDEX.json, and with --write the table in docs/results.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.vectors import KeptVectors, minilm
from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.run import processor
from cdsframe.chunking.section import SectionChunker
from cdsframe.contracts import Choose, Embedder, Index, Retriever
from cdsframe.corpus.beir import Beir, MedQuadPassages
from cdsframe.evaluation.places import by_section, clusters, locate
from cdsframe.evaluation.ranking import Qrels, score_rankings
from cdsframe.evaluation.retrieval import MEASURES, JudgedQuery, read_qrels
from cdsframe.evaluation.statistics import holm, interval, paired_difference
from cdsframe.fusion import Fusion, MinMax, ReciprocalRank, ScoreOverTop, ZScore
from cdsframe.index.lance import LanceIndex
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.update import update
from cdsframe.retriever.base import QueryBatch
from cdsframe.retriever.flat import Bm25, Bm25Leg, Hybrid, Knn, KnnLeg
from cdsframe.retriever.hierarchical import Hierarchical, HierarchicalLight
from cdsframe.retriever.oracle import Random
from cdsframe.types import Filter, Hit, Passage, Request

OUT = Path("outputs/benchmarks")
SETS = ("medquad", "fairytaleqa", "scifact")
DEPTH, K, SEED = 50, 100, 1
BASELINE = "hybrid, zscore"
PLANNED = "hierarchical, zscore"
"""The form whose comparison with the baseline was planned: one test. The others' are a search, adjusted together."""


class Remembering:
    """An index that is asked each request once: all forms of a retriever are measured on the same lists."""

    def __init__(self, index: Index) -> None:
        self._index, self._kept = index, dict[str, list[Hit]]()
        self.levels = dict(index.levels)

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        keys = [f"{r.level}|{r.k}|{r.text if r.vector is None else r.vector}" for r in requests]
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in self._kept}
        self._kept |= dict(zip(missing, self._index.search(list(missing.values())), strict=True))
        found = [self._kept[key] for key in keys]
        return found if choose is None else choose(found)

    def documents(self, *, committed: bool = False) -> dict[str, str]:
        return self._index.documents(committed=committed)

    def passages(self, document_ids: Sequence[str]) -> list[Passage]:
        return self._index.passages(document_ids)


class Gate(Hybrid):
    """The flat hybrid restricted to the passages of the best documents: what `hierarchical` does not do."""

    documents = 10

    def _find(self, queries: Sequence[object], wanted: int, filter: Filter) -> list[list[Hit]]:
        passages = super()._find(queries, wanted, filter)  # type: ignore[arg-type]
        batch = QueryBatch(queries, filter)  # type: ignore[arg-type]
        words = self._index.search(Bm25Leg(K, "document").requests(batch))
        vectors = self._index.search(KnnLeg(K, self._embedder, "document").requests(batch))
        kept = []
        for number, hits in enumerate(passages):
            best = self._fusion.fuse({"bm25": words[number], "knn": vectors[number]})[: self.documents]
            among = {hit.passage.document_id for hit in best}
            kept.append([hit for hit in hits if hit.passage.document_id in among])
        return kept


def forms(index: Index, embedder: Embedder) -> Iterator[tuple[str, Retriever]]:
    """Every form that is measured, by name."""
    fusions: dict[str, Fusion] = {
        "zscore": ZScore({"bm25": 1, "knn": 1}),
        "score_over_top": ScoreOverTop({"bm25": 1, "knn": 1}),
        "minmax": MinMax({"bm25": 1, "knn": 1}),
        "rrf": ReciprocalRank(60, {"bm25": 1, "knn": 1}),
    }
    both = {"document": 0.5, "title": 0.5}
    yield "random", Random(DEPTH, index, SEED)
    yield "bm25", Bm25(DEPTH, K, index)
    yield "knn", Knn(DEPTH, K, index, embedder)
    for name, fusion in fusions.items():
        yield f"hybrid, {name}", Hybrid(DEPTH, K, index, embedder, fusion)
    for name, fusion in fusions.items():
        yield f"hierarchical, {name}", Hierarchical(DEPTH, K, both, index, embedder, fusion)
    for name, weights in {
        "document only": {"document": 0.5},
        "title only": {"title": 0.5},
        "section only": {"section": 0.5},
        "and section": both | {"section": 0.5},
        "weights 0.25": {"document": 0.25, "title": 0.25},
        "weights 1": {"document": 1.0, "title": 1.0},
    }.items():
        yield f"hierarchical, {name}", Hierarchical(DEPTH, K, weights, index, embedder, ZScore({"bm25": 1, "knn": 1}))
    light = {"document": 0.5, "section": 0.5}
    yield "hierarchical_light", HierarchicalLight(DEPTH, K, light, index, embedder, ZScore({"bm25": 1, "knn": 1}))
    yield "gate: best 10 documents", Gate(DEPTH, K, index, embedder, ZScore({"bm25": 1, "knn": 1}))


def load(name: str, data: Path) -> tuple[Beir, list[JudgedQuery], Qrels]:
    """A set's corpus, development queries and judgements."""
    if name == "medquad":
        folder = data / "medquad"
        asked = [JudgedQuery(r["query_id"], r["text"]) for r in _records(folder / "retrieval_queries_val.jsonl.gz")]
        qrels = read_qrels(str(folder / "retrieval_qrels_val.tsv"))
        return MedQuadPassages(str(data), strict=True, name=None), asked, qrels
    if name == "scifact":
        folder = data / "scifact"
        asked = [JudgedQuery(r["query_id"], r["text"]) for r in _records(folder / "queries_train.jsonl.gz")]
        corpus = Beir(str(folder / "corpus.jsonl.gz"), True, None, ())
        return corpus, asked, read_qrels(str(folder / "qrels_train.tsv"))
    folder, sections = data / "other_domains", OUT / "fairytaleqa.jsonl"
    rows = _records(folder / "fairytaleqa_sections.jsonl.gz")
    sections.write_text(
        "".join(
            json.dumps({"doc_id": r["doc_id"], "document_id": r["story"], "title": "", "text": r["text"]}) + "\n"
            for r in rows
        )
    )
    asked = [
        JudgedQuery(r["id"], r["question"], r["story"])
        for r in _records(folder / "fairytaleqa_questions.jsonl.gz")
        if r["split"] in ("val", "test")
    ]
    return (
        Beir(str(sections), True, None, ()),
        asked,
        read_qrels(str(folder / "fairytaleqa_qrels.tsv")),
    )


def _records(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ingested(name: str, corpus: Beir, engine: str, embedder: Embedder) -> Index:
    chunking = SectionChunker(256, 32, ["title", "heading"], ["section", "document", "title"], None, embedder)
    identity = {"embedder": embedder.identity, "chunking": chunking.identity}
    kept = f"quality-{name}-{digest(json.dumps(identity, sort_keys=True))[:6]}"
    index: Index
    if engine == "memory":
        index = MemoryIndex(identity)
    elif engine == "elasticsearch":
        from benchmarks.engines import elasticsearch

        index = elasticsearch(kept, identity)
    else:
        index = LanceIndex("outputs/indexes", kept, identity)
    report = update(2048, 0, 1, False, False, corpus, chunking, embedder, index)
    print(report.text, flush=True)
    return index


def measure(name: str, index: Index, embedder: Embedder, asked: list[JudgedQuery], qrels: Qrels) -> dict[str, object]:
    """Each form's measures with intervals, and its difference to the baseline."""
    asked = [query for query in asked if any(qrels.get(query.id, {}).values())]
    judged = {query.id: qrels[query.id] for query in asked}
    places = locate(index, judged)
    groups = clusters(asked, judged, places)
    remembering = Remembering(index)
    scores: dict[str, dict[str, list[float]]] = {}
    for form, retriever in forms(remembering, embedder):  # type: ignore[arg-type]
        found = dict(zip(judged, retriever.search_many([query.text for query in asked], DEPTH), strict=True))
        rankings = {id: [hit.passage.id for hit in hits] for id, hits in found.items()}
        values = score_rankings(judged, rankings, MEASURES | {"judged@10": "Judged@10"})
        sections, judged_sections = by_section(found, judged, places)
        scores[form] = values | score_rankings(judged_sections, sections, {"section_ndcg@10": "nDCG@10"})
        print(f"{form:32} {sum(values['ndcg@10']) / len(asked):.4f}", flush=True)
    base = scores[BASELINE]["ndcg@10"]
    differences = {form: paired_difference(base, values["ndcg@10"], groups) for form, values in scores.items()}
    searched = [form for form in differences if form not in (BASELINE, PLANNED)]
    adjusted = {PLANNED: differences[PLANNED].p, BASELINE: 1.0}
    adjusted |= dict(zip(searched, holm([differences[form].p for form in searched]), strict=True))
    rows = {
        form: {measure: _estimate(column, groups) for measure, column in values.items()}
        for form, values in scores.items()
    }
    return {
        "set": name,
        "queries": len(asked),
        "clusters": len(set(groups)),
        "records": dict(index.levels),
        "forms": {
            form: rows[form] | {"difference": [d.value, d.low, d.high, adjusted[form]]}
            for form, d in differences.items()
        },
    }


def _estimate(column: Sequence[float], groups: Sequence[str]) -> list[float]:
    found = interval(column, groups)
    return [found.value, found.low, found.high]


def table(result: dict[str, object]) -> str:
    """The result as Markdown."""
    forms_: dict[str, dict[str, list[float]]] = result["forms"]  # type: ignore[assignment]
    shown = ["ndcg@10", "recall@5", "recall@10", "recall@50", "mrr@10", "section_ndcg@10", "judged@10"]
    asked = f"{result['queries']} questions, {result['clusters']} clusters"
    lines = [
        f"| {asked} | {' | '.join(shown)} | nDCG@10 against {BASELINE} |",
        "|---|" + "---|" * (len(shown) + 1),
    ]
    for form, row in forms_.items():
        value, low, high, p = row["difference"]
        told = "" if form == BASELINE else f"{value:+.3f} [{low:+.3f}, {high:+.3f}], p {p:.4f}"
        if form != BASELINE and p >= 0.05:
            told += ", not significant"
        first = row["ndcg@10"]
        cells = [f"{first[0]:.3f} [{first[1]:.3f}, {first[2]:.3f}]", *(f"{row[m][0]:.3f}" for m in shown[1:])]
        lines.append(f"| {form} | {' | '.join(cells)} | {told} |")
    return "\n".join(lines)


def write(result: dict[str, object]) -> None:
    """Puts the result's table between its marks in the documentation."""
    page = Path(__file__).resolve().parent.parent / "docs/results.md"
    begin, end = f"<!-- quality {result['set']} -->\n", "<!-- end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(f"{before}{begin}{table(result)}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, help=f"of {', '.join(SETS)}; all where none is named")
    parser.add_argument("--index", choices=("lance", "elasticsearch", "memory"), default="lance")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    parser.add_argument("--again", action="store_true", help="measure nothing: take what was measured last")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(SETS):
        parser.error(f"no set {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    if "CDSFRAME_DATA" not in os.environ and not options.again:
        parser.error("set CDSFRAME_DATA to the folder with the data sets")
    OUT.mkdir(parents=True, exist_ok=True)
    embedder = KeptVectors(minilm())
    for name in options.sets:
        kept = OUT / f"quality-{name}-{options.index}.json"
        if options.again:
            result = json.loads(kept.read_text(encoding="utf-8"))
            write(result) if options.write else print(table(result))
            continue
        corpus, asked, qrels = load(name, Path(os.environ["CDSFRAME_DATA"]))
        index = ingested(name, corpus, options.index, embedder)
        result = measure(name, index, embedder, asked, qrels)
        result |= {"index": options.index, "embedder": "all-MiniLM-L6-v2", "processor": processor()}
        kept.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(table(result), flush=True)
        if options.write:
            write(result)


if __name__ == "__main__":
    main()
