"""Scores an answer's text against gold answers, with tokens that keep medical quantities intact.

Exact match and token F1 follow SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250). SQuAD's normalisation equates "1.5 mg"
with "15 mg" and "<7.0" with "70"; the tokens of `cdsframe.text.tokens` do not. Does not judge meaning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from cdsframe.text.tokens import read
from cdsframe.text.units import measure


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number or range in the base unit of its measure: "500 mg" and "0.5 g" are equal."""

    values: tuple[Decimal, ...]
    measure: str


@lru_cache(maxsize=4096)
def tokens(text: str) -> tuple[str, ...]:
    """The tokens that exact match, F1 and ROUGE-L compare."""
    return tuple(part for token in read(text) for part in (token.text, token.unit) if part)


def quantities(text: str) -> set[Quantity]:
    """The quantities (numbers with a unit) in a text."""
    found = set()
    for token in read(text):
        if token.kind == "number" and token.unit:
            kind, factor = measure(token.unit)
            values = [part for part in re.split(r"(?<=\d)-", token.text) if re.fullmatch(r"-?[\d.]+", part)]
            found.add(Quantity(tuple(Decimal(value) * factor for value in values), kind))
    return {quantity for quantity in found if quantity.values}


def exact_match(text: str, golds: Sequence[str]) -> float:
    """1 if the answer equals a gold answer after normalisation, else 0."""
    return float(any(tokens(text) == tokens(gold) for gold in golds))


def token_f1(text: str, golds: Sequence[str]) -> float:
    """The harmonic mean of token precision and recall; the maximum over the gold answers."""
    return max((_f1(tokens(text), tokens(gold)) for gold in golds), default=0.0)


def rouge_l(text: str, golds: Sequence[str]) -> float:
    """ROUGE-L's F-measure (Lin 2004) over our tokens; the maximum over the gold answers."""
    return max((_rouge_scorer().score(gold, text)["rougeL"].fmeasure for gold in golds), default=0.0)


def wrong_dose(text: str, golds: Sequence[str]) -> bool:
    """Whether the answer states a quantity that no gold answer has.

    Ignores quantities of a kind (mass, volume, time, …) that no gold answer has.
    """
    known = {quantity for gold in golds for quantity in quantities(gold)}
    kinds = {quantity.measure for quantity in known}
    return any(quantity.measure in kinds and quantity not in known for quantity in quantities(text))


METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "f1": token_f1,
    "em": exact_match,
    "rouge_l": rouge_l,
}
"""Key -> a function of the answer's text and the gold answers, from 0 (wrong) to 1 (correct).

Each is reported as `qa/<key>` with its interval, kept per question in `predictions.jsonl`, and compared in pairs.
"""


def _f1(answer: tuple[str, ...], gold: tuple[str, ...]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    shared = sum((Counter(answer) & Counter(gold)).values())
    return 2 * shared / (len(answer) + len(gold))


class _RougeTokenizer:
    """Adapts `tokens` to rouge_score's tokenizer interface."""

    def tokenize(self, text: str) -> list[str]:
        return list(tokens(text))


@lru_cache(maxsize=1)
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_RougeTokenizer())
