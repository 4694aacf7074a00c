"""Estimates the confidence of an answer: features of the answer, and a calibrator that maps them to a probability.

Without a calibration, confidence is only a label for how far the cited passages support the answer. The calibrator is
Platt's (1999, "Probabilistic outputs for support vector machines"), a logistic regression fitted on held-out answers,
extended to several standardised features with an L2 penalty. Does not check citations (see `cdsframe.citations`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cdsframe.artifacts.files import read_json, write_json
from cdsframe.artifacts.identity import differences
from cdsframe.citations import SUPPORTED, WORTH, Checked, support, terms
from cdsframe.errors import CalibrationMismatchError, InputError
from cdsframe.text.markers import unmarked
from cdsframe.types import Confidence, Generation, Hit

FORMAT_VERSION = 3
"""Version 3: support requires equal polarity, bounds, frequencies and amounts."""
_PENALTY = 1.0
"""L2 penalty of the weights; the intercept is not penalised."""

REFUSED = Confidence("refused")

Identity = Mapping[str, Mapping[str, Any]]
"""Group -> the settings of its component that affect answers and their features."""


def features(
    question: str, checked: Checked, generation: Generation, hits: Sequence[Hit], shown: int
) -> dict[str, float]:
    """Computes features of an answer without the gold answer. A feature that does not apply is absent."""
    passages = [hit.passage for hit in hits[:shown]]
    found = {
        "answer_words": math.log1p(len(checked.text.split())),
        "truncated": float(generation.finish_reason == "length"),
        "removed": float(checked.removed),
    }
    if generation.log_probabilities:
        logprobs = generation.log_probabilities
        found |= {"log_probability_mean": sum(logprobs) / len(logprobs), "log_probability_min": min(logprobs)}
    if passages:
        supports = [citation.support for citation in checked.citations]
        asked = terms(question)
        seen = set().union(*(terms(passage.search_text) for passage in passages))
        found |= {
            "cited": checked.cited / max(checked.statements, 1),
            "citation_support": sum(supports) / len(supports) if supports else 0.0,
            "best_support": max(support(unmarked(checked.text, shown), passage)[2] for passage in passages),
            "question_coverage": len(asked & seen) / max(len(asked), 1),
            "agreement": _agreement(hits),
        }
        found |= {f"score_{leg}": part.score for leg, part in hits[0].parts.items()}
    if len(hits) > 1:
        found["margin"] = hits[0].score - hits[1].score
    return found


def _agreement(hits: Sequence[Hit]) -> float:
    """The first hit's reciprocal rank in each leg (0 if the leg did not find it), averaged over the legs."""
    legs = {leg for hit in hits for leg in hit.parts}
    if not legs:
        return 1.0
    return sum(1 / hits[0].parts[leg].rank for leg in legs if leg in hits[0].parts) / len(legs)


def word(checked: Checked) -> Confidence:
    """Labels how far the cited passages support the answer, without a calibration.

    The answer is "unsupported" if it cites nothing, or if a statement has support below 0.5 from each passage that it
    cites.
    """
    if not checked.supports or _fails(checked):
        return Confidence("unsupported")
    whole = all(min(given) >= SUPPORTED for given in checked.supports)
    return Confidence("supported" if whole and checked.cited == checked.statements else "partly supported")


def _fails(checked: Checked) -> bool:
    """Whether a statement cites passages none of which supports it by `WORTH` or more."""
    return any(max(given) < WORTH for given in checked.supports)


@dataclass(frozen=True)
class Calibrator:
    """A logistic regression on standardised features.

    Attributes:
        mean, scale, weights: feature -> value; a missing feature counts as its mean.
        threshold: the pipeline abstains below this probability and shows the passages; 0 never abstains.
        usable: False if it had too few answers or was not better than a constant on held-out ones; then only a label is
            shown.
        identity: settings of the pipeline whose answers it was fitted on.
    """

    mean: Mapping[str, float]
    scale: Mapping[str, float]
    weights: Mapping[str, float]
    intercept: float
    threshold: float = 0.0
    usable: bool = True
    identity: Identity = field(default_factory=dict)
    fitted: ClassVar[bool] = True

    @classmethod
    def fit(cls, features: Sequence[Mapping[str, float]], correct: Sequence[bool]) -> Calibrator:
        """Fits a logistic regression. Raises InputError if all answers are right or all are wrong."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        if len(features) != len(correct):
            raise ValueError(f"{len(features)} feature sets for {len(correct)} answers")
        if len(set(map(bool, correct))) < 2:
            raise InputError(
                "a calibration needs right and wrong answers, but all answers are of one kind; use more questions"
            )
        names = sorted({name for one in features for name in one})
        table = np.array([[one.get(name, np.nan) for name in names] for one in features], dtype=float)
        mean, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
        scale = np.where(spread > 1e-12, spread, 1.0)
        model = LogisticRegression(C=1 / _PENALTY, solver="newton-cholesky", tol=1e-10, max_iter=1000)
        model.fit(np.nan_to_num((table - mean) / scale), np.asarray(correct, dtype=bool))

        def named(values: Any) -> dict[str, float]:
            return {name: float(value) for name, value in zip(names, values, strict=False)}

        return cls(named(mean), named(scale), named(model.coef_[0]), float(model.intercept_[0]))

    def predict(self, features: Mapping[str, float]) -> float:
        """Returns the probability that the answer is right."""
        total = self.intercept
        for name, weight in self.weights.items():
            if name in features:
                total += weight * (features[name] - self.mean[name]) / self.scale[name]
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))

    def confidence(self, features: Mapping[str, float], checked: Checked) -> Confidence:
        """Returns the probability with a label, or only the label if the calibration is not usable.

        The label is "unsupported" if the cited passages do not support a statement, regardless of the probability.
        """
        if not self.usable:
            return word(checked)
        probability = self.predict(features)
        if _fails(checked):
            return Confidence("unsupported", probability)
        return Confidence("high" if probability >= 0.8 else "medium" if probability >= 0.5 else "low", probability)

    def save(self, path: str | Path) -> None:
        write_json(path, {"format_version": FORMAT_VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> Calibrator:
        """Reads a calibration. Raises InputError if the file is not a calibration, or has another format version."""
        values = read_json(path, "calibration")
        if values.pop("format_version", None) != FORMAT_VERSION:
            raise InputError(
                f"calibration: {path} does not have format version {FORMAT_VERSION}, which computes support "
                "differently. Fit it again: python evaluate.py evaluation=calibrate, with the same model, adapter and "
                "index.name; then give its calibration.json as calibration=FILE"
            )
        try:
            made = cls(**values)
            made.predict(dict.fromkeys(made.weights, 0.0))
        except (TypeError, KeyError, ZeroDivisionError):
            raise InputError(
                f"calibration: {path} is no calibration: keys are missing, unknown or of another type; make one by "
                "evaluation=calibrate"
            ) from None
        return made


@dataclass(frozen=True)
class NoCalibration:
    """Gives a label instead of a probability, and withholds no answer."""

    threshold = 0.0
    usable = fitted = False

    def confidence(self, features: Mapping[str, float], checked: Checked) -> Confidence:
        return word(checked)


def open_calibration(path: str, identity: Identity) -> Calibrator:
    """Opens a calibration file.

    Raises CalibrationMismatchError, naming the settings that differ, if it was fitted with another `identity`.
    """
    made = Calibrator.load(path)
    problems = []
    for group in sorted(identity):  # a group that only the calibration has does not affect these answers
        fitted, wanted = made.identity.get(group, {}), identity.get(group, {})
        for key, (then, now) in list(differences(fitted, wanted).items())[:1]:
            problems.append(
                f"the calibration {path} was fitted with another {group} ({key}: {then!r}, not {now!r}); use the same "
                "settings, or fit it again by evaluation=calibrate"
            )
    if problems:
        raise CalibrationMismatchError(problems)
    return made
