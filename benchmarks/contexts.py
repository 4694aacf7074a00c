"""What better questions and contexts bring: each option of expansion, reranker and context against the plain hybrid.

    CDSFRAME_DATA=FOLDER python -m benchmarks.contexts [--queries N] [--hyde N] [--reranker NAME]

MedQuAD's validation questions over all its passages, and the synthetic hospital's training and validation questions
(nothing here is trained). Differences are paired, their intervals by sign flips over pages and over facts, their p
adjusted by Holm within a set. MiniLM's vectors are kept by `benchmarks.vectors`: only the first run embeds.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import process_time
from typing import Any

from benchmarks.measuring import composed, data_folder, headline, last_line, medquad_documents, medquad_queries
from benchmarks.vectors import KeptVectors, minilm
from cdsframe.config import build
from cdsframe.contracts import Index, Retriever
from cdsframe.corpus.hospital import hospital as hospital_corpus
from cdsframe.data.jsonl import hospital as hospital_questions
from cdsframe.evaluation.ranking import Qrels, gold_passages, score_rankings
from cdsframe.evaluation.retrieval import read_qrels
from cdsframe.evaluation.statistics import holm, paired_difference
from cdsframe.fusion import ZScore
from cdsframe.index.memory import MemoryIndex
from cdsframe.pipeline import retrieve
from cdsframe.reranker.none import NoReranker
from cdsframe.retriever.flat import Bm25, Hybrid, Knn
from cdsframe.types import Document, Generation, Hit, Message, Question

MEASURES = {"ndcg@10": "nDCG@10", "recall@4": "R@4", "mrr@10": "RR@10"}
SEED = 1

CONTEXTS: dict[str, dict[str, Any]] = {
    "near_duplicate=.9": {"near_duplicate": 0.9},
    "near_duplicate=.6": {"near_duplicate": 0.6},
    "mmr_lambda=.9 (words)": {"mmr_lambda": 0.9},
    "mmr_lambda=.7 (words)": {"mmr_lambda": 0.7},
    "mmr_lambda=.9 (vectors)": {"mmr_lambda": 0.9, "mmr_by": "vectors"},
    "mmr_lambda=.7 (vectors)": {"mmr_lambda": 0.7, "mmr_by": "vectors"},
}
DATED: dict[str, dict[str, Any]] = {
    "versions=newest_first": {"versions": "newest_first"},
    "versions=newest_only": {"versions": "newest_only"},
    "recency_boost=.1": {"recency_boost": 0.1},
    "recency_boost=.3": {"recency_boost": 0.3},
    "kind_boost={guideline: .2}": {"kind_boost": {"guideline": 0.2}},
    "kind_boost={protocol: .2}": {"kind_boost": {"protocol": 0.2}},
}
EXTRACTS = (48, 64, 96)


@dataclass
class Set:
    """Questions with judgements over an index, and the rows of its table."""

    name: str
    index: Index
    embedder: KeptVectors
    texts: dict[str, str]
    qrels: Qrels
    groups: dict[str, str]
    kinds: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[str, str, dict[str, list[float]], float, list[str]]] = field(default_factory=list)

    @property
    def hybrid(self) -> Hybrid:
        return Hybrid(4, 100, self.index, self.embedder, ZScore({"bm25": 1, "knn": 1}))

    def context(self, **changes: Any) -> Any:
        """As configured, with changes."""
        return option("context", "standard", changes, embedder=self.embedder, index=self.index)

    def measure(self, name: str, against: str, retriever: Retriever, ids: Sequence[str] = (), **steps: Any) -> None:
        """Adds the row of one composition; `against` names the row that it is compared with."""
        ids = list(ids or self.texts)
        reranker, context = steps.get("reranker") or NoReranker(), steps.get("context") or self.context()
        before = process_time()
        found: list[list[Hit]] = []
        for first in range(0, len(ids), 64):
            asked = [self.texts[id] for id in ids[first : first + 64]]
            found += [one.hits for one in retrieve(retriever, reranker, context, asked, 10)]
        spent = 1000 * (process_time() - before) / len(ids)
        ranked = {id: [hit.passage.id for hit in hits] for id, hits in zip(ids, found, strict=True)}
        self.rows.append((name, against, score_rankings(self.qrels, ranked, MEASURES), spent, ids))

    def table(self) -> dict[str, float]:
        """Prints the rows and returns the differences in nDCG@10 by name."""
        by_name = {row[0]: row for row in self.rows}
        compared = [(row, by_name[row[1]]) for row in self.rows if row[1]]
        found = []
        for row, base in compared:
            places = {id: place for place, id in enumerate(base[4])}
            first = [base[2]["ndcg@10"][places[id]] for id in row[4]]
            groups = [self.groups[id] for id in row[4]]
            found.append(paired_difference(first, row[2]["ndcg@10"], groups))
        adjusted = iter(holm([one.p for one in found]))
        told = iter(found)
        print(f"\n{self.name}: {len(self.texts)} questions")
        print("| | nDCG@10 | recall@4 | MRR@10 | difference in nDCG@10 | p (Holm) | CPU-ms a question |")
        print("|---|---|---|---|---|---|---|")
        for name, against, values, spent, ids in self.rows:
            means = " | ".join(f"{sum(values[key]) / len(ids):.3f}" for key in MEASURES)
            said = "| |"
            if against:
                one, p = next(told), next(adjusted)
                said = f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}] | {p:.3f} |"
            print(
                f"| {name}{f' (n={len(ids)})' if len(ids) < len(self.texts) else ''} | {means} | {said} {spent:.0f} |"
            )
        return {row[0]: one.value for (row, _), one in zip(compared, found, strict=True)}

    def by_kind(self, names: Sequence[str]) -> None:
        """Prints nDCG@10 of some rows by the questions' kind."""
        kinds = sorted(set(self.kinds.values()))
        print("\nnDCG@10 | " + " | ".join(f"{kind} ({list(self.kinds.values()).count(kind)})" for kind in kinds))
        for name, _, values, _, ids in self.rows:
            if name in names:
                cells = [
                    [v for v, id in zip(values["ndcg@10"], ids, strict=True) if self.kinds[id] == k] for k in kinds
                ]
                print(f"{name} | " + " | ".join(f"{sum(cell) / len(cell):.3f}" for cell in cells))


def option(group: str, name: str, changes: dict[str, Any] | None = None, **dependencies: Any) -> Any:
    """A component as configured, with changes."""
    overrides = [f"{group}={name}"]
    cfg = composed("evaluate", *overrides)[group]
    for key, value in (changes or {}).items():
        cfg[key] = value
    return build(cfg, **dependencies)


class _Corpus:
    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents

    def documents(self) -> Iterator[Document]:
        yield from self._documents


def indexed(documents: Sequence[Document], embedder: KeptVectors) -> MemoryIndex:
    """The documents' passages, no other records, in memory."""
    chunking = build(composed("ingest", "chunking.levels=[]").chunking, embedder=embedder)
    index = MemoryIndex({})
    passages = [passage for document in documents for passage in chunking.split(document)]
    index.write(passages, embedder.encode_passages([passage.search_text for passage in passages]))
    index.commit()
    return index


def medquad(queries: int, embedder: KeptVectors) -> Set:
    asked = medquad_queries()
    chosen = random.Random(SEED).sample(sorted(asked), min(queries, len(asked)))
    qrels = read_qrels(str(data_folder() / "medquad/retrieval_qrels_val.tsv"))
    pages = {id: id.rpartition("-")[0] for id in chosen}
    index = indexed(medquad_documents(), embedder)
    return Set("MedQuAD, validation", index, embedder, {id: asked[id] for id in chosen}, qrels, pages)


def hospital(embedder: KeptVectors) -> tuple[Set, list[Question]]:
    corpus = hospital_corpus("hospital")
    index = indexed([item for item in corpus.documents() if isinstance(item, Document)], embedder)
    data = hospital_questions(corpus)
    questions = [q for split in ("train", "validation") for q in data.questions(split) if q.evidence]
    texts, groups = {q.id: q.question for q in questions}, {q.id: q.group for q in questions}
    kinds = {q.id: q.type for q in questions}
    made = Set("Hospital, train and validation", index, embedder, texts, gold_passages(index, questions), groups, kinds)
    return made, questions


def questions_and_contexts(own: Set, contexts: dict[str, dict[str, Any]]) -> None:
    """The rows of everything but HyDE."""
    flat = {"hybrid": own.hybrid, "bm25": Bm25(4, 100, own.index)}
    for name, retriever in flat.items():
        own.measure(name, "", retriever)
    for name in ("feedback", "abbreviations"):
        for leg, retriever in flat.items():
            own.measure(f"{leg}, {name}", leg, option("expansion", name, retriever=retriever, index=own.index))
    found = own.hybrid.search_many(list(own.texts.values()), 100)
    kept = Found(dict(zip(own.texts.values(), found, strict=True)))
    for name, changes in contexts.items():
        own.measure(f"hybrid, {name}", "hybrid", kept, context=own.context(**changes))


class Found:
    """A retriever of what was found before, so that a context's time is its own."""

    top_k, searches = 4, True

    def __init__(self, hits: dict[str, list[Hit]]) -> None:
        self._hits = hits

    def search_many(self, queries: Sequence[str], top_k: int, filter: Any = None) -> list[list[Hit]]:
        return [self._hits[query][:top_k] for query in queries]

    def search(self, query: str, top_k: int | None = None, filter: Any = None) -> list[Hit]:
        return self.search_many([query], top_k or self.top_k)[0]


class Written:
    """A generator that writes the same passage for the same question once."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._said: dict[str, Generation] = {}

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        fresh = [messages for messages in conversations if messages[-1].content not in self._said]
        for messages, said in zip(fresh, self._generator.generate(fresh), strict=True):
            self._said[messages[-1].content] = said
        return [self._said[messages[-1].content] for messages in conversations]


def hyde(own: Set, queries: int, generator: Any) -> None:
    """The rows of HyDE, over a few questions."""
    ids = random.Random(SEED).sample(sorted(own.texts), min(queries, len(own.texts)))
    knn = Knn(4, 100, own.index, own.embedder)
    own.measure("knn", "", knn)
    written = Written(generator)
    for leg, retriever in (("knn", knn), ("hybrid", own.hybrid)):
        expanded = option("expansion", "hyde", retriever=retriever, generator=written)
        own.measure(f"{leg}, hyde", leg, expanded, ids)


def extracts(own: Set, questions: Sequence[Question]) -> None:
    """What of the evidence four passages show when each is cut or widened, and how many tokens they take.

    `lead` cuts to the first sentences: what the question's words are worth is the difference.
    """
    print("\n| | evidence shown whole | of what whole passages show | tokens of 4 passages |")
    print("|---|---|---|---|")
    steps: list[tuple[str, bool, dict[str, Any]]] = [("as found", False, {})]
    for tokens in EXTRACTS:
        steps += [(f"first sentences, {tokens} tokens", True, {"extract_tokens": tokens})]
        steps += [(f"extract_tokens={tokens}", False, {"extract_tokens": tokens})]
    steps += [("neighbours=1", False, {"neighbours": 1}), ("merge_share=.5", False, {"merge_share": 0.5})]
    found = own.hybrid.search_many([q.question for q in questions], 20)
    whole = 0.0
    for name, lead, changes in steps:
        context = own.context(**changes)
        cut = [
            context.select("" if lead else q.question, h[: max(4, context.depth)], 4)
            for q, h in zip(questions, found, strict=True)
        ]
        shown = [
            sum(any(_shows(hit, span) for hit in hits) for span in q.evidence) / len(q.evidence)
            for q, hits in zip(questions, cut, strict=True)
        ]
        size = sum(len(own.embedder.offsets(hit.passage.text)) for hits in cut for hit in hits) / len(cut)
        share = sum(shown) / len(shown)
        whole = whole or share
        print(f"| {name} | {share:.3f} | {share / whole:.3f} | {size:.0f} |")


def _shows(hit: Hit, span: Any) -> bool:
    p = hit.passage
    return p.document_id == span.document_id and p.start <= span.start and span.end <= p.end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=914, help="of MedQuAD's 914 validation questions")
    parser.add_argument("--hyde", type=int, default=50, help="questions of each set for which a passage is written")
    parser.add_argument("--reranker", help="a cross-encoder to measure too: a hub id or a folder")
    arguments = parser.parse_args()
    headline("better questions and contexts")
    embedder = KeptVectors(minilm())
    wards, questions = hospital(embedder)
    pages = medquad(arguments.queries, embedder)
    generator = None
    if arguments.hyde:
        cfg = composed("ask", "question=x", "quantization=none")
        model = build(cfg.model, quantization=build(cfg.quantization), adapter=None)
        generator = build(cfg.generator, model=model, seed=SEED)
    figures: dict[str, float] = {}
    for own, contexts in ((wards, CONTEXTS | DATED), (pages, CONTEXTS)):
        questions_and_contexts(own, contexts)
        if arguments.reranker:
            reranker = option("reranker", "cross_encoder", {"name": arguments.reranker})
            own.measure("hybrid, cross_encoder", "hybrid", own.hybrid, reranker=reranker)
        if generator:
            hyde(own, arguments.hyde, generator)
        differences = own.table()
        figures |= {f"{own.name.split(',')[0].lower()}/{name}": value for name, value in differences.items()}
    wards.by_kind(["hybrid", *(f"hybrid, {name}" for name in DATED)])
    extracts(wards, questions)
    last_line(**figures)


if __name__ == "__main__":
    main()
