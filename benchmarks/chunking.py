"""What the ways of cutting documents, of prepending title and heading, and of summarising documents do to retrieval.

    python -m benchmarks.chunking                             # the synthetic hospital: three minutes of one core
    CDSFRAME_DATA=FOLDER python -m benchmarks.chunking medquad   # what does not need other vectors: a few minutes

The hospital's training and validation questions (nothing here is trained); its gold evidence is spans of documents. So
that long passages have no advantage, `found@N` asks whether the first N tokens of hits, title and heading included,
hold all of a question's evidence. (nDCG@10 stands beside it: each passage that shows some of the evidence is relevant,
and there are more of them where they are short.) MedQuAD's records are passages already: there only `prepend` and
`summary_sentences` matter. Differences are to the default chunking, paired by question, sign flips over facts or pages,
p adjusted by Holm within a table.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory

from benchmarks.measuring import OUTPUTS, composed, data_folder, headline, last_line
from benchmarks.quality import Remembering, ingested, load
from benchmarks.vectors import KeptVectors, minilm
from cdsframe.config import build
from cdsframe.contracts import Choose, Embedder, Index, Retriever
from cdsframe.corpus.hospital import hospital as hospital_corpus
from cdsframe.data.jsonl import hospital as hospital_questions
from cdsframe.embedder import NoEmbedder
from cdsframe.evaluation.ranking import Qrels, gold_passages, score_rankings
from cdsframe.evaluation.statistics import holm, interval, paired_difference
from cdsframe.fusion import ZScore
from cdsframe.index.lance import LanceIndex
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.vectors import vectors_of
from cdsframe.retriever.flat import Bm25, Hybrid, Knn
from cdsframe.retriever.hierarchical import Hierarchical
from cdsframe.types import Document, Hit, Passage, Question, Request, headed

DEPTH, K, SEED = 50, 100, 1
BUDGETS = (250, 1000)
SAMPLE, ASKED = 1500, 150
"""Passages of MedQuAD that are embedded without their titles, and questions over them."""

CHUNKINGS = (
    (),
    ("chunking.size=64", "chunking.overlap=8"),
    ("chunking.size=64", "chunking.overlap=0"),
    ("chunking=fixed",),
    ("chunking=fixed", "chunking.size=128", "chunking.overlap=16"),
    ("chunking=fixed", "chunking.size=64", "chunking.overlap=8"),
    ("chunking=fixed", "chunking.size=64", "chunking.overlap=0"),
    ("chunking=sentence",),
    ("chunking=sentence", "chunking.sentences=1", "chunking.overlap=0"),
    ("chunking.prepend=[title]",),
    ("chunking.prepend=[heading]",),
    ("chunking.prepend=[]",),
    ("chunking.size=64", "chunking.overlap=8", "chunking.prepend=[]"),
    ("chunking=fixed", "chunking.prepend=[]"),
    ("chunking.summary_sentences=1",),
    ("chunking.summary_sentences=3",),
)
SUMMARIES = (1, 3, 10)

Scores = dict[str, list[float]]


def cut(documents: Sequence[Document], embedder: Embedder, *overrides: str) -> list[list[Passage]]:
    """The records of each document, as `ingest.py` with these overrides cuts them."""
    chunking = build(composed("ingest", *overrides).chunking, embedder=embedder)
    return [records for document in documents if (records := chunking.split(document))]


def in_memory(cuts: Sequence[list[Passage]], embedder: Embedder) -> MemoryIndex:
    index = MemoryIndex({})
    records = [record for document in cuts for record in document]
    index.write(records, vectors_of(records, embedder))
    index.commit()
    return index


def hybrid(index: Index, embedder: Embedder) -> Hybrid:
    return Hybrid(DEPTH, K, index, embedder, ZScore({"bm25": 1, "knn": 1}))


def hierarchical(index: Index, embedder: Embedder) -> Hierarchical:
    return Hierarchical(DEPTH, K, {"document": 0.5, "title": 0.5}, index, embedder, ZScore({"bm25": 1, "knn": 1}))


# ------------------------------------------------------------------------------------------------ the hospital


class Reader:
    """What a prompt that shows hits one below the other holds in its first tokens.

    Args:
        embedder: whose tokenizer counts.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self._known = embedder, dict[str, tuple[int, list[int]]]()

    def found(self, hits: Sequence[Hit], question: Question, budget: int) -> float:
        """1 if the first `budget` tokens of the hits, titles and headings included, hold all of the evidence."""
        missing = {(e.document_id, place) for e in question.evidence for place in range(e.start, e.end)}
        for passage in (hit.passage for hit in hits):
            head, starts = self._tokens(passage)
            left = budget - head
            if left <= 0:
                break
            end = passage.end if left >= len(starts) else passage.start + starts[left]
            missing -= {(passage.document_id, place) for place in range(passage.start, end)}
            budget = left - len(starts)
        return float(not missing)

    def _tokens(self, passage: Passage) -> tuple[int, list[int]]:
        """The tokens of title and heading, and the characters at which those of the text begin."""
        if passage.id not in self._known:
            head = self._embedder.offsets(headed(passage.title, passage.heading, ""))
            self._known[passage.id] = len(head), [start for start, _ in self._embedder.offsets(passage.text)]
        return self._known[passage.id]


def hospital(embedder: Embedder) -> dict[str, object]:
    corpus = hospital_corpus("hospital")
    data = hospital_questions(corpus)
    documents = [item for item in corpus.documents() if isinstance(item, Document)]
    questions = [q for split in ("train", "validation") for q in data.questions(split) if q.evidence]
    groups = [question.group for question in questions]
    rows: dict[str, dict[str, Scores]] = {"hybrid": {}, "hierarchical": {}}
    facts: dict[str, str] = {}
    for overrides in CHUNKINGS:
        name = " ".join(overrides) or "default"
        cuts = cut(documents, embedder, *overrides)
        index = in_memory(cuts, embedder)
        passages = [record for records in cuts for record in records if record.level == "passage"]
        tokens = sum(embedder.count(passage.search_text) for passage in passages) / len(passages)
        facts[name] = f"{len(passages)} | {tokens:.0f}"
        judged, reader = gold_passages(index, questions), Reader(embedder)
        for kind, make in {"hybrid": hybrid, "hierarchical": hierarchical}.items():
            if kind == "hybrid" and "summary" in name:
                continue  # reads no document records
            hits = make(index, embedder).search_many([question.question for question in questions], DEPTH)
            values = score_rankings(judged, _rankings(questions, hits), {"ndcg@10": "nDCG@10"})
            for budget in BUDGETS:
                column = [reader.found(own, q, budget) for own, q in zip(hits, questions, strict=True)]
                values[f"found@{budget}"] = column
            rows[kind][name] = values
            print(f"{kind:13} {name:60}", *(f"{_mean(v):.3f}" for v in values.values()), flush=True)
    return {
        kind: table(f"hospital, {kind}", scores, "found@250", groups, ("passages | tokens each", facts))
        for kind, scores in rows.items()
    }


def _rankings(questions: Sequence[Question], hits: Sequence[Sequence[Hit]]) -> dict[str, list[str]]:
    return {q.id: [hit.passage.id for hit in own] for q, own in zip(questions, hits, strict=True)}


# ------------------------------------------------------------------------------------------------ MedQuAD


class OtherDocuments:
    """An index whose document records' words are another index's; their vectors do not depend on their text."""

    def __init__(self, index: Index | Remembering, documents: Index) -> None:
        self._index, self._documents, self.levels = index, documents, index.levels

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        there = [r for r in requests if r.level == "document" and r.text is not None]
        theirs = iter(self._documents.search(there))
        ours = iter(self._index.search([r for r in requests if r not in there]))
        found = [next(theirs if request in there else ours) for request in requests]
        return found if choose is None else choose(found)


def words_only(folder: str, name: str, cuts: Sequence[list[Passage]]) -> Index:
    """An index that BM25 searches."""
    index = LanceIndex(folder, name, {})
    with index.writer():
        index.write([record for records in cuts for record in records], None)
        index.commit(optimize=True)
    return index


def medquad(embedder: KeptVectors) -> dict[str, object]:
    corpus, asked, qrels = load("medquad", data_folder())
    documents = [item for item in corpus.documents() if isinstance(item, Document)]
    texts = {query.id: query.text for query in asked if any(qrels[query.id].values())}
    with TemporaryDirectory() as folder:
        return {
            "prepend, words": _prepended_words(folder, documents, texts, qrels),
            "prepend, sample": _prepended_sample(documents, texts, qrels, embedder),
            "summaries": _summaries(folder, documents, texts, qrels, embedder),
        }


def _prepended_words(
    folder: str, documents: Sequence[Document], texts: Mapping[str, str], qrels: Qrels
) -> dict[str, object]:
    rows = {}
    for name, overrides in {"default": (), "chunking.prepend=[]": ("chunking.prepend=[]",)}.items():
        cuts = cut(documents, NoEmbedder(), "chunking.levels=[]", *overrides)
        index = words_only(folder, f"words-{len(rows)}", cuts)
        rows[name] = _measured(Bm25(DEPTH, K, index), texts, qrels)
    return table("MedQuAD, bm25", rows, "ndcg@10", _pages(texts))


def _prepended_sample(
    documents: Sequence[Document], texts: Mapping[str, str], qrels: Qrels, embedder: Embedder
) -> dict[str, object]:
    draw = random.Random(SEED)
    asked = {id: texts[id] for id in draw.sample(sorted(texts), ASKED)}
    relevant = {passage for id in asked for passage, grade in qrels[id].items() if grade > 0}
    order = sorted(documents, key=lambda document: document.id)
    draw.shuffle(order)
    order.sort(key=lambda document: not any(section.passage_id in relevant for section in document.sections))
    sample, count = [], 0
    for document in order:
        if count < SAMPLE or any(section.passage_id in relevant for section in document.sections):
            sample.append(document)
            count += len(document.sections)
    result: dict[str, object] = {"passages": count}
    rows: dict[str, dict[str, Scores]] = {}
    for name, overrides in {"default": (), "chunking.prepend=[]": ("chunking.prepend=[]",)}.items():
        index = in_memory(cut(sample, embedder, *overrides), embedder)
        retrievers: dict[str, Retriever] = {
            "bm25": Bm25(DEPTH, K, index),
            "knn": Knn(DEPTH, K, index, embedder),
            "hybrid": hybrid(index, embedder),
            "hierarchical": hierarchical(index, embedder),
        }
        for kind, retriever in retrievers.items():
            rows.setdefault(kind, {})[name] = _measured(retriever, asked, qrels)
    for kind, own in rows.items():
        result[kind] = table(f"MedQuAD, {count} passages, {kind}", own, "ndcg@10", _pages(asked))
    return result


def _summaries(
    folder: str, documents: Sequence[Document], texts: Mapping[str, str], qrels: Qrels, embedder: KeptVectors
) -> dict[str, object]:
    base = Remembering(ingested("medquad", load("medquad", data_folder())[0], "lance", embedder))
    rows = {"hybrid": _measured(hybrid(base, embedder), texts, qrels)}  # type: ignore[arg-type]
    rows["default"] = _measured(hierarchical(base, embedder), texts, qrels)  # type: ignore[arg-type]
    for count in SUMMARIES:
        name = f"chunking.summary_sentences={count}"
        cuts = cut(documents, NoEmbedder(), "chunking.levels=[document]", name)
        own = words_only(
            folder, f"summaries-{count}", [[r for r in records if r.level == "document"] for records in cuts]
        )
        index = OtherDocuments(base, own)
        rows[name] = _measured(hierarchical(index, embedder), texts, qrels)  # type: ignore[arg-type]
    return table("MedQuAD, hierarchical", rows, "ndcg@10", _pages(texts))


def _pages(texts: Mapping[str, str]) -> list[str]:
    return [id.rpartition("-")[0] for id in texts]


def _measured(retriever: Retriever, texts: Mapping[str, str], qrels: Qrels) -> Scores:
    hits = retriever.search_many(list(texts.values()), DEPTH)
    rankings = {id: [hit.passage.id for hit in own] for id, own in zip(texts, hits, strict=True)}
    return score_rankings(qrels, rankings, {"ndcg@10": "nDCG@10", "recall@10": "R@10", "recall@50": "R@50"})


# ------------------------------------------------------------------------------------------------ the table


def table(
    title: str,
    rows: Mapping[str, Scores],
    tested: str,
    groups: Sequence[str],
    facts: tuple[str, Mapping[str, str]] | None = None,
) -> dict[str, object]:
    """Prints the rows as Markdown and returns them: each measure, and the difference of one measure to the default."""
    base = rows["default"]
    measures = [tested, *(measure for measure in base if measure != tested)]
    others = [name for name in rows if name != "default"]
    compared = {name: paired_difference(base[tested], rows[name][tested], groups) for name in others}
    adjusted = dict(zip(others, holm([one.p for one in compared.values()]), strict=True))
    print(f"\n{title}: {len(groups)} questions, {len(set(groups))} groups\n")
    print(f"| |{f' {facts[0]} |' if facts else ''} {' | '.join(measures)} | {tested} against the default |")
    print("|---|" + "---|" * (len(measures) + 1 + (2 if facts else 0)))
    result: dict[str, object] = {}
    for name, values in rows.items():
        own = interval(values[tested], groups)
        cells = [f"{own.value:.3f} [{own.low:.3f}, {own.high:.3f}]", *(f"{_mean(values[m]):.3f}" for m in measures[1:])]
        said = ""
        if name in compared:
            one, p = compared[name], adjusted[name]
            said = f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}], p {'< 0.001' if p < 0.001 else f'{p:.3f}'}"
            said += "" if p < 0.05 else ", not significant"
        print(f"| {name} |{f' {facts[1][name]} |' if facts else ''} {' | '.join(cells)} | {said} |", flush=True)
        result[name] = {measure: round(_mean(values[measure]), 4) for measure in measures} | {"p": adjusted.get(name)}
    return result


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured = {"hospital": hospital, "medquad": medquad}
    parser.add_argument("set", nargs="?", default="hospital", choices=measured)
    options = parser.parse_args()
    headline("chunking")
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    embedder = KeptVectors(minilm())
    last_line(set=options.set, **measured[options.set](embedder))


if __name__ == "__main__":
    main()
