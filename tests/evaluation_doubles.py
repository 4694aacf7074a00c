"""A small hospital in memory for the tests of the evaluations: two documents, six questions, a scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdsframe.artifacts.run import Run
from cdsframe.confidence import NoCalibration
from cdsframe.contracts import Item
from cdsframe.evaluation.exams import likelihood_cache
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.index.memory import MemoryIndex
from cdsframe.pipeline import Pipeline
from cdsframe.prompt import Prompt
from cdsframe.types import Evidence, Filter, Hit, Message, Passage, Question, Request

TEXTS = {
    "alpha": ["Give velorapine 15 mg twice daily.", "Call bleep 4417 for help.", "Wash your hands."],
    "beta": ["Dantrexol is stopped at 5.8 mmol/L.", "The maximum is 60 mg a day."],
}


def passages() -> list[Passage]:
    """Each sentence is a passage; offsets count in the sentences joined by a blank."""
    found = []
    for document, sentences in TEXTS.items():
        start = 0
        for ordinal, text in enumerate(sentences):
            name = f"{document}-{ordinal}"
            found.append(
                Passage(name, document, document, "passage", text, document, (), ordinal, start, start + len(text), "d")
            )
            start += len(text) + 1
    return found


def evidence(passage_id: str) -> Evidence:
    """The whole of one passage."""
    return next(Evidence(p.document_id, p.start, p.end) for p in passages() if p.id == passage_id)


QUESTIONS = [
    Question(
        "q1", "Which velorapine dose twice daily?", "15 mg twice daily", (), "fact", "test", (evidence("alpha-0"),), "a"
    ),
    Question("q2", "How much velorapine twice a day?", "15 mg", (), "fact", "test", (evidence("alpha-0"),), "a"),
    Question("q3", "Which bleep for help?", "4417", ("bleep 4417",), "fact", "test", (evidence("alpha-1"),), "b"),
    Question("q4", "When is dantrexol stopped?", "at 5.8 mmol/L", (), "history", "test", (evidence("beta-0"),), "c"),
    Question("q5", "Who founded the hospital?", "", (), "unanswerable", "test", (), "d"),
    Question("q6", "Where is the dantrexol kept?", "", (), "unanswerable", "test", (), "e"),
]


class Questions:
    """Data in memory."""

    scope = "a test"

    def __init__(self, questions: Sequence[Question] = tuple(QUESTIONS)) -> None:
        self._questions = list(questions)

    def questions(self, split: str) -> list[Question]:
        return self._questions


class Search:
    """BM25 over an index, `top_k` deep; with 0 it finds nothing, as `retriever=none` does."""

    def __init__(self, index: MemoryIndex, top_k: int) -> None:
        self._index, self.top_k, self.searches = index, top_k, top_k > 0

    def search(self, query: str, top_k: int | None = None, filter: Filter | None = None) -> list[Hit]:
        return self.search_many([query], top_k, filter)[0]

    def search_many(
        self, queries: Sequence[str], top_k: int | None = None, filter: Filter | None = None
    ) -> list[list[Hit]]:
        if self.top_k == 0:
            return [[] for _ in queries]
        return self._index.search([Request(top_k or self.top_k, text=query) for query in queries])


class InOrder:
    """A reranker that leaves hits as they are."""

    depth = 0

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]:
        return hits


class First:
    """A context of the first hits."""

    depth = 0

    def select(self, query: str, hits: Sequence[Hit], top_k: int) -> list[Hit]:
        return [replace(hit, rank=rank) for rank, hit in enumerate(hits[:top_k], start=1)]

    def order(self, items: Sequence[Item]) -> list[Item]:
        return list(items)


def memory_index() -> MemoryIndex:
    index = MemoryIndex(identity={})
    index.write(passages(), None)
    index.commit()
    return index


def prompt() -> Prompt:
    return Prompt(
        system="Answer.",
        system_closed_book="Answer.",
        passage="[{number}] {text}",
        grounded="{passages}\nQuestion: {question}",
        closed_book="Question: {question}",
        refusal="The documents do not say.",
        refusal_pattern="the documents do not ",
        cites=True,
        max_tokens=400,
    )


def pipeline(answer: str | Callable[[Sequence[Message]], str], top_k: int = 2) -> tuple[Pipeline, MemoryIndex]:
    index = memory_index()
    return Pipeline(
        Search(index, top_k), InOrder(), First(), prompt(), ScriptedGenerator(answer), NoCalibration()
    ), index


def question_of(messages: Sequence[Message]) -> str:
    """The question in a conversation made by the prompt above."""
    return messages[-1].content.rpartition("Question: ")[2]


def run_in(folder: Path, **config: object) -> Run:
    choices = {str(k): str(v) for k, v in config.items() if k in ("retriever", "model", "evaluation")}
    text = "".join(f"{key}: {value if value is not None else 'null'}\n" for key, value in config.items())
    return Run(folder, "evaluate", 1, text or "{}\n", choices, "group")


def rows_without_seconds(folder: Path) -> list[Any]:
    """The rows of a run's `predictions.jsonl`, without the only values that two equal runs do not share."""
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) | {"seconds": None} for line in lines]


class SystemDouble:
    """A system of given components."""

    name, seed, adapter = "test", 1, None

    def __init__(self, asked: Pipeline | None = None, **components: object) -> None:
        self.data: object = Questions()
        self.model: object = None
        if asked is not None:
            self.pipeline, self.calibration = asked, asked.calibration
            self.retriever, self.reranker, self.context, self.prompt = (
                asked.retriever, asked.reranker, asked.context, asked.prompt,
            )  # fmt: skip
        vars(self).update(components)


def scored_pairs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that receives the pairs of tokens that `score_options` scores. Each scores 0."""
    scored: list[Any] = []

    def log_likelihoods(model: Any, pairs: list[Any], batch_tokens: int, computed: Any) -> list[float]:
        scored.extend(pairs)
        return [0.0] * len(pairs)

    monkeypatch.setattr(likelihood_cache, "log_likelihoods", log_likelihoods)
    return scored
