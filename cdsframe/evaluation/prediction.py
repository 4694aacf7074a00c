"""A question, what the pipeline answered, and all else that scoring needs: one line of `predictions.jsonl`.

Does not ask and does not score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from cdsframe.errors import InputError
from cdsframe.evaluation.finished_run import read_rows
from cdsframe.types import Answer, Confidence, Evidence, Hit, JsonObject, Passage, Question

Span = TypeVar("Span", "Evidence", "RetrievedPassage")


_Count = Annotated[int, Field(ge=0, le=10**12)]
_Seconds = Annotated[float, Field(ge=0, le=10**12)]


def _in_order(span: Span) -> Span:
    if not 0 <= span.start <= span.end:
        raise ValueError("start must be 0 or more, and end must not be smaller")
    return span


def _probable(confidence: Confidence) -> Confidence:
    if confidence.probability is not None and not 0 <= confidence.probability <= 1:
        raise ValueError("a probability must be from 0 to 1")
    return confidence


def _has(*keys: str) -> AfterValidator:
    """Refuses a mapping without these keys."""

    def check(values: Mapping[str, float]) -> Mapping[str, float]:
        if not values.keys() >= set(keys):
            raise ValueError(f"expected {', '.join(keys)}")
        return values

    return AfterValidator(check)


@dataclass(frozen=True, slots=True)
class RetrievedPassage:
    """A passage that was retrieved for a question; `rank` counts from 1, by relevance."""

    id: str
    document_id: str
    title: str
    heading: tuple[str, ...]
    start: int
    end: int
    text: str
    score: float
    rank: _Count

    @classmethod
    def of(cls, hit: Hit) -> RetrievedPassage:
        p = hit.passage
        return cls(p.id, p.document_id, p.title, p.heading, p.start, p.end, p.text, hit.score, hit.rank)

    def shows(self, evidence: Evidence) -> bool:
        """Whether the passage contains any of the span."""
        same = self.document_id == evidence.document_id
        return same and self.start < evidence.end and evidence.start < self.end


@dataclass(frozen=True)
class Prediction:
    """One answer beside its question.

    Attributes:
        topic, department: of the question and of the passages that answer it; "" if unknown.
        group: questions that are not independent share it.
        gold: the right answer; empty: the documents do not answer the question.
        cited: ids of the cited passages, one for each citation.
        hits: the passages for the prompt, in its order; the prompt had room for the first `shown`.
        ranking: passage ids as they were ranked: the hits, then what the retriever found below them.
        relevant: passage id -> grade, of the passages that show the evidence; None: without evidence or retrieval.
        removed: citation markers that named no shown passage.
        features: feature name -> value that the confidence was computed from.
        seconds: `retrieve` and `generate`, wall time.
        tokens: `prompt` and `completion`.
    """

    id: str
    type: str
    topic: str
    department: str
    group: str
    question: str
    gold: str
    aliases: tuple[str, ...]
    evidence: tuple[Annotated[Evidence, AfterValidator(_in_order)], ...]
    text: str
    refused: bool
    cited: tuple[str, ...]
    hits: tuple[Annotated[RetrievedPassage, AfterValidator(_in_order)], ...]
    shown: _Count
    ranking: tuple[str, ...]
    relevant: Mapping[str, Annotated[int, Field(ge=0, le=100)]] | None
    removed: _Count
    confidence: Annotated[Confidence, AfterValidator(_probable)]
    features: Mapping[str, float]
    seconds: Annotated[Mapping[str, _Seconds], _has("retrieve", "generate")]
    tokens: Annotated[Mapping[str, _Count], _has("prompt", "completion")]

    @classmethod
    def of(
        cls, question: Question, group: str, answer: Answer, below: list[str], gold_passages: list[Passage] | None
    ) -> Prediction:
        """A prediction from an answer.

        Args:
            below: passage ids as the retriever ranked them; those that are not among the hits follow the hits.
            gold_passages: the passages that show the question's evidence; None: without evidence or retrieval.
        """
        # As they were ranked, not as they are shown.
        ranked = [hit.passage.id for hit in sorted(answer.hits, key=lambda hit: hit.rank)]
        departments = {p.metadata.get("department", "") for p in gold_passages or ()} - {""}
        return cls(
            question.id, question.type, question.topic, min(departments, default=""), group, question.question,
            question.answer, question.aliases, question.evidence, answer.text, answer.abstained,
            tuple(citation.passage.id for citation in answer.citations),
            tuple(map(RetrievedPassage.of, answer.hits)), answer.shown,
            (*ranked, *(passage for passage in below if passage not in ranked)),
            None if gold_passages is None else {passage.id: 1 for passage in gold_passages},
            answer.removed, answer.confidence, dict(answer.features),
            {step: answer.timings[step] for step in ("retrieve", "generate")},
            {kind: answer.usage[f"{kind}_tokens"] for kind in ("prompt", "completion")},
        )  # fmt: skip

    @property
    def answerable(self) -> bool:
        return bool(self.gold)

    def row(self) -> JsonObject:
        """The values as a JSON object."""
        own = asdict(self) | {"refused": float(self.refused), "answerable": self.answerable}
        return own if self.relevant is not None else {key: value for key, value in own.items() if key != "relevant"}


def read_predictions(folder: Path) -> list[Prediction]:
    """Reads a run's answers.

    Raises InputError if there is none, a line is not an answer as `evaluation=qa` writes it, or two have the same id.
    """
    found = []
    for number, row in read_rows(folder, "evaluation.runs"):
        try:
            one = _reader().validate_python({"relevant": None} | row)
            wrong = _contradictions(one)
        except ValidationError as error:
            wrong = list(dict.fromkeys(str(problem["loc"][0]) for problem in error.errors()))
        if wrong:
            raise InputError(
                f"evaluation.runs: {folder / 'predictions.jsonl'}, line {number}: not as this cdsframe writes it "
                f"({', '.join(wrong)}); evaluate again"
            )
        found.append(one)
    return found


def _contradictions(one: Prediction) -> list[str]:
    """The columns that do not agree with the passages."""
    known = {hit.id for hit in one.hits}
    return ["shown"] * (one.shown > len(one.hits)) + ["cited"] * (not known.issuperset(one.cited))


@cache
def _reader() -> TypeAdapter[Prediction]:
    return TypeAdapter(Prediction)
