"""How sure an answer is: features of the answer, and a calibrator that turns them into a probability.

Without a calibration there is no number, only a word for how far the cited passages support the answer. The calibrator
is Platt's (1999, "Probabilistic outputs for support vector machines"): a logistic regression on held-out answers, here
over several standardised features and with an L2 penalty.
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
"""3: the features of support ask for equal polarity, bounds, frequencies and amounts."""
_PENALTY = 1.0
"""Of the squared weights; the intercept is not penalised."""

REFUSED = Confidence("refused")

Identity = Mapping[str, Mapping[str, Any]]
"""Group -> the settings of a composition that decide what its answers and their features look like."""


def features(
    question: str, checked: Checked, generation: Generation, hits: Sequence[Hit], shown: int
) -> dict[str, float]:
    """What can be seen of an answer without knowing the right one. A feature that does not apply is absent."""
    passages = [hit.passage for hit in hits[:shown]]
    found = {
        "answer_words": math.log1p(len(checked.text.split())),
        "truncated": float(generation.finish_reason == "length"),
        "removed": float(checked.removed),
    }
    if generation.log_probabilities:
        said = generation.log_probabilities
        found |= {"log_probability_mean": sum(said) / len(said), "log_probability_min": min(said)}
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
    """The mean over the legs of one by the rank that a leg gives the first hit (0 where it did not find it)."""
    legs = {leg for hit in hits for leg in hit.parts}
    if not legs:
        return 1.0
    return sum(1 / hits[0].parts[leg].rank for leg in legs if leg in hits[0].parts) / len(legs)


def word(checked: Checked) -> Confidence:
    """A word for how far the cited passages support the answer, where nothing is calibrated.

    One statement that no passage it cites supports by at least half makes the whole answer unsupported.
    """
    if not checked.supports or _fails(checked):
        return Confidence("unsupported")
    whole = all(min(given) >= SUPPORTED for given in checked.supports)
    return Confidence("supported" if whole and checked.cited == checked.statements else "partly supported")


def _fails(checked: Checked) -> bool:
    """Whether a statement says something else than each passage that it cites."""
    return any(max(given) < WORTH for given in checked.supports)


@dataclass(frozen=True)
class Calibrator:
    """A logistic regression on standardised features.

    Attributes:
        mean, scale, weights: one per feature, by name; a feature that an answer lacks counts as its mean.
        threshold: below this probability the pipeline abstains and shows the passages instead; 0 never does.
        usable: False where it was not better than a constant on held-out answers; then a word is shown, not a number.
        identity: the composition whose answers it was fitted on.
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
        """Fits by scikit-learn. Raises InputError without right and wrong answers to learn from."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        if len(features) != len(correct):
            raise ValueError(f"{len(features)} feature sets for {len(correct)} answers")
        if len(set(map(bool, correct))) < 2:
            raise InputError(
                "a calibration needs answers that are right and answers that are wrong; these are all alike"
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
        """The probability that the answer is right."""
        total = self.intercept
        for name, weight in self.weights.items():
            if name in features:
                total += weight * (features[name] - self.mean[name]) / self.scale[name]
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))

    def confidence(self, features: Mapping[str, float], checked: Checked) -> Confidence:
        """The probability with its word, or the word alone where the calibration is not usable.

        The word is "unsupported" where a statement says something else than the passages that it cites.
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
        """Raises InputError where the file is no calibration that this version reads."""
        values = read_json(path, "calibration")
        if values.pop("format_version", None) != FORMAT_VERSION:
            raise InputError(
                f"calibration: {path} is not of format version {FORMAT_VERSION}, whose features of support are others. "
                "Make it again: python evaluate.py evaluation=calibrate, with the model, adapter and index.name of "
                "before; then give its calibration.json as calibration=FILE"
            )
        try:
            made = cls(**values)
            made.predict(dict.fromkeys(made.weights, 0.0))
        except (TypeError, KeyError, ZeroDivisionError):
            raise InputError(
                f"calibration: {path} is no calibration: keys are missing, unknown or of another type; make it by "
                "evaluation=calibrate"
            ) from None
        return made


@dataclass(frozen=True)
class NoCalibration:
    """No calibration: a word, never a number, and no answer is held back."""

    threshold = 0.0
    usable = fitted = False

    def confidence(self, features: Mapping[str, float], checked: Checked) -> Confidence:
        return word(checked)


def open_calibration(path: str | None, identity: Identity) -> Calibrator | NoCalibration:
    """The calibration of a file, or none. Raises CalibrationMismatchError that names how the compositions differ."""
    if path is None:
        return NoCalibration()
    made = Calibrator.load(path)
    problems = []
    for group in sorted(identity):  # a group that only the calibration has does not decide these answers
        fitted, wanted = made.identity.get(group, {}), identity.get(group, {})
        for key, (then, now) in list(differences(fitted, wanted).items())[:1]:
            problems.append(
                f"the calibration {path} was fitted with another {group} ({key}: {then!r}, not {now!r}); compose it as "
                "it was, or fit it again by evaluation=calibrate"
            )
    if problems:
        raise CalibrationMismatchError(problems)
    return made
