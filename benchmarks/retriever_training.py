"""What a tuned embedder and a tuned reranker gain on MedQuAD's validation questions, and whether it is chance.

    CDSFRAME_DATA=FOLDER python benchmarks/retriever_training.py --embedder FOLDER --reranker FOLDER [--passages 6000]

The folders are what `training=embedder` and `training=reranker` left (see docs/train.md). Searched is a part of
MedQuAD: all pages that hold a judged passage, and other pages drawn by a fixed seed until there are so many passages;
the same part for all rows, and easier to search than the whole. Differences are paired by question, sign flips over
clusters of questions that share a page; p adjusted by Holm over the rows of a table. Vectors are kept in
outputs/benchmarks. Writes outputs/benchmarks/retriever-training.json, and with --write the tables in docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.quality import load
from benchmarks.vectors import KeptVectors, minilm
from cdsframe.chunking.section import SectionChunker
from cdsframe.contracts import Embedder, Retriever
from cdsframe.data.medquad import MedQuad
from cdsframe.embedder import SentenceEmbedder
from cdsframe.evaluation.places import clusters, locate
from cdsframe.evaluation.ranking import Qrels, score_rankings
from cdsframe.evaluation.retrieval import JudgedQuery
from cdsframe.evaluation.statistics import holm, interval, paired_difference
from cdsframe.fusion import ZScore
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.update import update
from cdsframe.reranker.cross_encoder import CrossEncoder
from cdsframe.retriever.flat import Hybrid, Knn
from cdsframe.retriever.hierarchical import Hierarchical
from cdsframe.types import Document, Hit

OUT = Path("outputs/benchmarks")
K, SEED = 100, 1
MEASURE = {"ndcg@10": "nDCG@10"}
Rankings = dict[str, list[str]]


class Part:
    """The judged pages of a corpus and others, at least `passages` passages (a page's sections) in all."""

    def __init__(self, documents: Sequence[Document], judged: set[str], passages: int) -> None:
        others = [document for document in documents if document.id not in judged]
        random.Random(SEED).shuffle(others)
        self._chosen = [document for document in documents if document.id in judged]
        self.passages = sum(len(document.sections) for document in self._chosen)
        for document in others:
            if self.passages >= passages:
                break
            self._chosen.append(document)
            self.passages += len(document.sections)

    def documents(self) -> Iterator[Document]:
        return iter(self._chosen)


def tuned(folder: str) -> SentenceEmbedder:
    """The embedder of `embedder=minilm embedder.name=FOLDER`."""
    return minilm(folder)


def retrievers(part: Part, embedder: Embedder) -> dict[str, Retriever]:
    """kNN, hybrid and hierarchical over a part of the corpus that is embedded by the embedder."""
    chunking = SectionChunker(256, 32, ["title", "heading"], ["document", "title"], None, embedder)
    index = MemoryIndex({})
    update(2048, 0, 1, False, False, part, chunking, embedder, index)
    both = {"document": 0.5, "title": 0.5}
    return {
        "knn": Knn(K, K, index, embedder),
        "hybrid": Hybrid(K, K, index, embedder, ZScore({"bm25": 1, "knn": 1})),
        "hierarchical": Hierarchical(K, K, both, index, embedder, ZScore({"bm25": 1, "knn": 1})),
    }


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.id for hit in hits]


def compared(
    rows: Mapping[str, tuple[Rankings, Rankings]], judged: Qrels, groups: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """For each row nDCG@10 before and after with intervals, and the paired difference with its adjusted p."""
    found: dict[str, dict[str, Any]] = {}
    for name, sides in rows.items():
        asked = [id for id in sides[0] if id in judged]
        tied = [groups[id] for id in asked]
        before, after = (score_rankings(judged, {id: side[id] for id in asked}, MEASURE)["ndcg@10"] for side in sides)
        intervals = [interval(values, tied) for values in (before, after)]
        difference = paired_difference(before, after, tied)
        found[name] = {
            "questions": len(asked),
            "clusters": len(set(tied)),
            "before": [intervals[0].value, intervals[0].low, intervals[0].high],
            "after": [intervals[1].value, intervals[1].low, intervals[1].high],
            "difference": [difference.value, difference.low, difference.high],
            "p": difference.p,
        }
    for row, p in zip(found.values(), holm([row["p"] for row in found.values()]), strict=True):
        row["p"] = p
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    data = os.environ["CDSFRAME_DATA"]
    corpus, asked, qrels = load("medquad", Path(data))
    asked = [query for query in asked if any(qrels.get(query.id, {}).values())]
    judged = {query.id: qrels[query.id] for query in asked}
    relevant = {passage for row in judged.values() for passage, grade in row.items() if grade > 0}
    documents = [document for document in corpus.documents() if isinstance(document, Document)]
    pages = {d.id for d in documents if any(section.passage_id in relevant for section in d.sections)}
    part = Part(documents, pages, options.passages)
    print(f"{len(asked)} questions; {len(pages)} judged pages; {part.passages} passages", flush=True)
    untuned = retrievers(part, KeptVectors(minilm()))
    places = locate(untuned["knn"]._index, judged)  # type: ignore[attr-defined]
    groups = dict(zip(judged, clusters(asked, judged, places), strict=True))
    unseen = {q.id for q in MedQuad(data, None, [], False, "unseen_focus", None).questions("validation")}
    rows: dict[str, tuple[Rankings, Rankings]] = {}
    best = untuned["hierarchical"]
    if options.embedder:
        made = retrievers(part, KeptVectors(tuned(options.embedder)))
        best = made["hierarchical"]
        for form in untuned:
            rows[form] = (_searched(untuned[form], asked), _searched(made[form], asked))
    if options.reranker:
        drawn = random.Random(SEED).sample(asked, min(options.rerank, len(asked)))
        reranker = _Remembering(options.reranker, options.depth, 1.0, 256, 16, None, "auto")
        for weight in options.weights:
            then = "then the reranker" + (f", weighed {weight:g}" if weight < 1 else "")
            rows[f"hybrid, untuned; {then}"] = _reranked(untuned["hybrid"], reranker.weighing(weight), drawn)
            if options.embedder:
                rows[f"hierarchical, tuned; {then}"] = _reranked(best, reranker.weighing(weight), drawn)
    tables = {
        "all questions": compared(rows, judged, groups),
        "unseen focus": compared(rows, {id: row for id, row in judged.items() if id in unseen}, groups),
    }
    return {"passages": part.passages, "pages": len(pages), "depth": options.depth, "tables": tables}


class _Remembering(CrossEncoder):
    """A reranker that scores each pair once, however its score is weighed."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self._known: dict[tuple[str, str], float] = {}

    def weighing(self, weight: float) -> CrossEncoder:
        other = copy(self)
        other._weight = weight
        return other

    def _score(self, query: str, texts: Sequence[str]) -> list[float]:
        new = [text for text in texts if (query, text) not in self._known]
        self._known.update(((query, text), score) for text, score in zip(new, super()._score(query, new), strict=True))
        return [self._known[query, text] for text in texts]


def _searched(retriever: Retriever, asked: Sequence[JudgedQuery]) -> Rankings:
    found = retriever.search_many([query.text for query in asked], 10)
    return {query.id: ids(hits) for query, hits in zip(asked, found, strict=True)}


def _reranked(retriever: Retriever, reranker: CrossEncoder, asked: Sequence[JudgedQuery]) -> tuple[Rankings, Rankings]:
    """The retriever's order and the reranker's, of the first `depth` hits."""
    from tqdm import tqdm

    found = retriever.search_many([query.text for query in asked], reranker.depth)
    pairs = tqdm(list(zip(asked, found, strict=True)), desc="reranking", unit=" questions")
    after = {query.id: ids(reranker.rerank(query.text, hits)) for query, hits in pairs}
    return {query.id: ids(hits) for query, hits in zip(asked, found, strict=True)}, after


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    lines = []
    for name, rows in result["tables"].items():
        lines += [f"| {name} | questions (clusters) | nDCG@10 before | after | difference |", "|---|---|---|---|---|"]
        for form, row in rows.items():
            cells = [f"{row[side][0]:.3f} [{row[side][1]:.3f}, {row[side][2]:.3f}]" for side in ("before", "after")]
            value, low, high = row["difference"]
            told = f"{value:+.3f} [{low:+.3f}, {high:+.3f}], p {row['p']:.4f}"
            told += ", not significant" if row["p"] >= 0.05 else ""
            lines.append(f"| {form} | {row['questions']} ({row['clusters']}) | {' | '.join(cells)} | {told} |")
        lines.append("")
    return "\n".join(lines)


def write(result: Mapping[str, Any]) -> None:
    """Puts the tables between their marks in the documentation."""
    page = Path(__file__).resolve().parent.parent / "docs/results.md"
    begin, end = "<!-- retriever training -->\n", "<!-- end of retriever training -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(f"{before}{begin}{table(result)}{end}{rest.partition(end)[2]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", help="the folder of a tuned embedder")
    parser.add_argument("--reranker", help="the folder of a tuned reranker")
    parser.add_argument("--passages", type=int, default=6000, help="of the part of the corpus that is searched")
    parser.add_argument("--rerank", type=int, default=200, help="questions that are reranked")
    parser.add_argument("--depth", type=int, default=20, help="hits that are reranked")
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[1.0], help="of the reranker's score (reranker.weight)"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    options = parser.parse_args()
    if not (options.embedder or options.reranker):
        parser.error("give --embedder, --reranker or both")
    if "CDSFRAME_DATA" not in os.environ:
        parser.error("set CDSFRAME_DATA to the folder with the data sets")
    OUT.mkdir(parents=True, exist_ok=True)
    result = measure(options)
    (OUT / "retriever-training.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(table(result))
    if options.write:
        write(result)
    print(json.dumps(result["tables"]))


if __name__ == "__main__":
    main()
