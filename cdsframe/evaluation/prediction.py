"""A question, what the pipeline answered, and all else that scoring needs: one line of `predictions.jsonl`.

Does not ask and does not score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cdsframe.artifacts.files import read_jsonl
from cdsframe.errors import InputError
from cdsframe.types import Answer, Confidence, Evidence, Hit, JsonObject, Passage, Question


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
    rank: int

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
    evidence: tuple[Evidence, ...]
    text: str
    refused: bool
    cited: tuple[str, ...]
    hits: tuple[RetrievedPassage, ...]
    shown: int
    ranking: tuple[str, ...]
    relevant: Mapping[str, int] | None
    removed: int
    confidence: Confidence
    features: Mapping[str, float]
    seconds: Mapping[str, float]
    tokens: Mapping[str, int]

    @classmethod
    def of(
        cls, question: Question, group: str, answer: Answer, below: list[str], gold_passages: list[Passage] | None
    ) -> Prediction:
        """A prediction from an answer.

        Args:
            below: passage ids as the retriever ranked them; those that are no hits follow the hits.
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
    """Reads a run's answers. Raises InputError if a line is no answer as `evaluation=qa` writes it."""
    from pydantic import ValidationError

    path, found = folder / "predictions.jsonl", []
    for number, row in read_jsonl(path, "evaluation.runs"):
        try:
            found.append(_reader().validate_python({"relevant": None} | row))
        except ValidationError as error:
            keys = list(dict.fromkeys(str(one["loc"][0]) for one in error.errors()))
            raise InputError(
                f"evaluation.runs: {path}, line {number}: not as this cdsframe writes it ({', '.join(keys)}); "
                "evaluate again"
            ) from None
    return found


@cache
def _reader() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Prediction)
