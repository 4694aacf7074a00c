"""Passages, a retriever over them and pipelines, shared by the tests of everything that answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from cdsframe.confidence import NoCalibration
from cdsframe.config import build
from cdsframe.contracts import Generator
from cdsframe.embedder import NoEmbedder
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.pipeline import Pipeline
from cdsframe.types import Filter, Hit, LegScore, Passage

CONFIGS = Path(__file__).parent.parent / "configs"

TEXTS = (
    (
        "Velorapine protocol",
        "Dose",
        "Check the pulse first. The loading dose of velorapine is 4.5 mg. Repeat after 6 hours.",
    ),
    ("Sepsis guideline", "First hour", "Give amicosine 15 mg/kg within one hour. Take two blood cultures before it."),
    ("Ward rules", "Visits", "Visitors leave at 20:00. Flowers are not allowed in intensive care."),
)


def passage(number: int, text: str | None = None, **metadata: str) -> Passage:
    title, heading, own = TEXTS[number % len(TEXTS)]
    text, start = text if text is not None else own, 100 * number
    return Passage(
        id=f"p{number}", document_id=f"d{number}", section_id=f"d{number}#0", level="passage", text=text, title=title,
        heading=(heading,), ordinal=0, start=start, end=start + len(text), digest="0", metadata=metadata,
    )  # fmt: skip


PASSAGES = (passage(0, kind="protocol"), passage(1, kind="guideline"), passage(2, kind="rules", department="Surgery"))


class Shelf:
    """A retriever that ranks a few passages by the words they share with the question."""

    def __init__(self, passages: Sequence[Passage] = PASSAGES, top_k: int = 2) -> None:
        self.passages, self.top_k, self.searches = passages, top_k, True

    def search(self, query: str, top_k: int | None = None, filter: Filter | None = None) -> list[Hit]:
        asked = set(re.findall(r"\w+", query.lower()))
        matching = [p for p in self.passages if all(p.metadata.get(k) == v for k, v in (filter or {}).items())]
        scored = sorted(
            (-float(len(asked & set(re.findall(r"\w+", p.search_text.lower())))), p.id, p) for p in matching
        )
        return [
            Hit(p, -score, rank, {"words": LegScore(rank, -score)})
            for rank, (score, _, p) in enumerate(scored[: top_k or self.top_k], start=1)
            if score < 0
        ]

    def search_many(
        self, queries: Sequence[str], top_k: int | None = None, filter: Filter | None = None
    ) -> list[list[Hit]]:
        return [self.search(query, top_k, filter) for query in queries]


class ClosedBook:
    """A retriever that finds nothing because it is asked for nothing."""

    top_k, searches = 0, False

    def search(self, query: str, top_k: int | None = None, filter: Filter | None = None) -> list[Hit]:
        return []

    def search_many(
        self, queries: Sequence[str], top_k: int | None = None, filter: Filter | None = None
    ) -> list[list[Hit]]:
        return [[] for _ in queries]


class AsFound:
    """A reranker that leaves the hits as they are."""

    depth = 0

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]:
        return hits


def prompt(option: str = "cited", **changes: Any) -> Any:
    return build(OmegaConf.merge(OmegaConf.load(CONFIGS / f"prompt/{option}.yaml"), changes))


def context(index: Any = None, **changes: Any) -> Any:
    """The hits as they are, unless the changes switch something on."""
    node = OmegaConf.merge(OmegaConf.load(CONFIGS / "context/standard.yaml"), changes)
    return build(node, embedder=NoEmbedder(), index=index)


def pipeline(
    generator: Generator | str = "The loading dose is 4.5 mg [1].",
    retriever: Any = None,
    calibration: Any = None,
    **changes: Any,
) -> Pipeline:
    return Pipeline(
        retriever=retriever or Shelf(),
        reranker=AsFound(),
        context=context(),
        prompt=prompt(**changes),
        generator=ScriptedGenerator(generator) if isinstance(generator, str) else generator,
        calibration=calibration or NoCalibration(),
    )


@cache
def language_model(option: str = "tiny", **changes: Any) -> Any:
    """A model of the project, unquantized and in float32."""
    from cdsframe.quantization import NoQuantization

    node = OmegaConf.merge(OmegaConf.load(CONFIGS / f"model/{option}.yaml"), {"compute_dtype": "float32"}, changes)
    return build(node, quantization=NoQuantization(), adapter=None)
