"""`evaluation=calibrate`: fits the confidence on validation questions, chooses its threshold, and tests both.

Splits the answers by group into three disjoint parts: fit, threshold and test. If there are too few answers, or the
calibrator is no better than a constant, it is marked unusable, and serving shows a word instead of a probability.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import write_jsonl
from cdsframe.artifacts.run import Run
from cdsframe.confidence import Calibrator
from cdsframe.contracts import System
from cdsframe.contracts.declarations import declares
from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.errors import ConfigError, InputError
from cdsframe.evaluation.asking import ask
from cdsframe.evaluation.generation_cache import cached
from cdsframe.evaluation.prediction import Prediction
from cdsframe.evaluation.result import Result, Scores, model_digests, question_digest, with_table
from cdsframe.evaluation.scoring import text_scores
from cdsframe.evaluation.statistics import Interval, interval_of, paired_differences
from cdsframe.types import JsonObject

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

PARTS = ("fit", "threshold", "test")
_SHARES = (0.5, 0.25, 0.25)
_BINS = 10


@dataclass(frozen=True)
class Sample:
    """An answer, its part, whether it is correct, and the predicted probability that it is correct."""

    prediction: Prediction
    part: str
    correct: bool
    probability: float = float("nan")

    @property
    def group(self) -> str:
        return self.prediction.group

    def row(self) -> JsonObject:
        """What `predictions.jsonl` keeps."""
        scored = self.prediction.row() | text_scores(self.prediction)
        return scored | {"part": self.part, "correct": self.correct, "probability": self.probability}


@declares(asks_generator=True)
def evaluate(
    system: System,
    run: Run,
    seed: int,
    split: Literal["train", "validation", "test"],
    limit: Annotated[int, Field(ge=1)] | None,
    correct_from: Annotated[float, Field(gt=0, le=1)],
    target_accuracy: Annotated[float, Field(gt=0, le=1)],
    minimum: Annotated[int, Field(ge=5)],
    resamples: Annotated[int, Field(ge=100)],
    cache: str | None,
    output: str,
) -> Result:
    """Answers a split's questions, fits and tests a calibrator; writes it to the run's folder and to `output`.

    An answer is correct if its F1 is at least `correct_from` and it states no wrong dose ("10 mg twice daily" shares
    most words with "15 mg twice daily"). Refusals have no confidence and are left out.
    """
    if system.calibration.fitted:
        raise ConfigError(
            "evaluation=calibrate needs answers without a calibration, but one is configured; use calibration=null"
        )
    pipeline = system.pipeline.with_generator(cached(system.pipeline.generator, cache))
    questions = proportional_sample(system.data.questions(split), limit, seed, by_type)
    predictions = ask(pipeline, system.index, questions, run.folder / "predictions.jsonl", depth=0).predictions
    samples = _samples(predictions, correct_from, seed)
    fitted, reasons = _fit(samples, minimum)
    samples = [replace(sample, probability=fitted.predict(sample.prediction.features)) for sample in samples]
    base_rate = _mean([sample.correct for sample in samples if sample.part == "fit"])
    tested = [sample for sample in samples if sample.part == "test"]
    threshold = _threshold(samples, target_accuracy, minimum)
    fitted = replace(fitted, threshold=threshold, identity=pipeline.identity)

    scores = Scores()
    if tested:
        _score(scores, tested, fitted.threshold, base_rate)
        scores.put("calibration/ece", _calibration_error(tested, resamples, seed))
        if scores.metrics.get("calibration/brier_skill", 0.0) <= 0:  # missing if the constant's Brier score is 0
            reasons.append("its Brier score on the test part is no better than a constant's")
    fitted = replace(fitted, usable=not reasons)
    for reason in reasons:
        log.warning(
            "the calibration is unusable: %s; answers will show a confidence word instead of a probability", reason
        )
    metrics = scores.metrics | {
        "calibration/threshold": fitted.threshold,
        "calibration/usable": float(fitted.usable),
        "calibration/answers": float(len(samples)),
        "calibration/refusals_left_out": float(len(predictions) - len(samples)),
    }
    write_jsonl(run.folder / "predictions.jsonl", [sample.row() for sample in samples])
    for path in (run.folder / "calibration.json", Path(output)):
        fitted.save(path)
    digests = model_digests(system.model) if pipeline.generator.uses_model else {}
    run.finish(metrics, {"data": question_digest(questions), **digests}, reasons=reasons)
    return with_table(metrics, "calibration/brier")


def _samples(predictions: Sequence[Prediction], correct_from: float, seed: int) -> list[Sample]:
    """The answers that are not refusals, each with its part."""
    parts = split_by_group([one.group for one in predictions], seed)
    return [
        Sample(one, part, is_correct(one, correct_from))
        for one, part in zip(predictions, parts, strict=True)
        if not one.refused
    ]


def is_correct(one: Prediction, correct_from: float) -> bool:
    """Whether an answer has at least that F1 and states no wrong dose."""
    scores = text_scores(one)
    return scores["f1"] >= correct_from and not scores["wrong_dose"]


def split_by_group(groups: Sequence[str], seed: int) -> list[str]:
    """The part of each question. Groups, in a seeded order, fill the parts with 1/2, 1/4 and 1/4 of the questions."""
    order = sorted(set(groups), key=lambda group: digest(str(seed), group))
    part_of: dict[str, str] = {}
    placed = 0
    for group in order:
        share = placed / len(groups)
        part_of[group] = PARTS[0 if share < _SHARES[0] else 1 if share < _SHARES[0] + _SHARES[1] else 2]
        placed += groups.count(group)
    return [part_of[group] for group in groups]


def expected_calibration_error(probabilities: np.ndarray, correct: np.ndarray) -> float:
    """Mean |confidence - accuracy| over ten bins of equal mass (Nguyen & O'Connor 2015, D15-1182)."""
    import numpy as np

    order = np.argsort(probabilities, kind="stable")
    bins = [places for places in np.array_split(order, _BINS) if len(places)]
    gaps = [len(places) * abs(probabilities[places].mean() - correct[places].mean()) for places in bins]
    return float(sum(gaps) / len(order))


def choose_threshold(probabilities: Sequence[float], correct: Sequence[bool], target: float, minimum: int) -> float:
    """The lowest threshold at which the answers that it keeps reach the target accuracy; 0 if no threshold does.

    Thresholds that keep fewer than `minimum` answers are not considered: their accuracy is too uncertain.
    """
    for candidate in sorted(set(probabilities)):
        kept = [right for probability, right in zip(probabilities, correct, strict=True) if probability >= candidate]
        if len(kept) >= minimum and _mean(kept) >= target:
            return candidate
    log.warning(
        "no threshold reaches evaluation.target_accuracy=%.2f; the threshold is 0, so that no answer is withheld",
        target,
    )
    return 0.0


def _threshold(samples: Sequence[Sample], target: float, minimum: int) -> float:
    """The threshold that the answers of the threshold part give."""
    choosing = [sample for sample in samples if sample.part == "threshold"]
    probabilities, correct = [sample.probability for sample in choosing], [sample.correct for sample in choosing]
    return choose_threshold(probabilities, correct, target, minimum)


def _fit(samples: Sequence[Sample], minimum: int) -> tuple[Calibrator, list[str]]:
    """Fits the calibrator; returns it with the reasons why it is unusable (empty if there are none so far)."""
    reasons = [
        f"the {part} part has {count} answers, at least {minimum} are needed (evaluation.minimum)"
        for part in PARTS
        if (count := sum(sample.part == part for sample in samples)) < minimum
    ]
    fitting = [sample for sample in samples if sample.part == "fit"]
    if not fitting:
        raise InputError(
            "evaluation=calibrate: all questions of the fit part were refused; use more questions (evaluation.limit)"
        )
    try:
        return Calibrator.fit([s.prediction.features for s in fitting], [s.correct for s in fitting]), reasons
    except InputError as error:
        rate = min(max(_mean([sample.correct for sample in fitting]), 0.01), 0.99)
        return Calibrator({}, {}, {}, _logit(rate)), [*reasons, str(error)]


def _score(scores: Scores, tested: Sequence[Sample], threshold: float, base_rate: float) -> None:
    import numpy as np

    groups = [sample.group for sample in tested]
    correct = [float(sample.correct) for sample in tested]
    kept = [float(sample.probability >= threshold) for sample in tested]
    scores.add("calibration/accuracy", correct, groups)
    scores.add("calibration/brier", [(s.probability - s.correct) ** 2 for s in tested], groups)
    constant = [(base_rate - s.correct) ** 2 for s in tested]
    scores.add("calibration/brier_constant", constant, groups)
    gain = [c - (s.probability - s.correct) ** 2 for s, c in zip(tested, constant, strict=True)]
    if sum(constant):
        scores.put("calibration/brier_skill", paired_differences(np.array([gain]).T, groups, math.inf, constant)[0])
    scores.add("calibration/coverage", kept, groups)
    right = [a * b for a, b in zip(kept, correct, strict=True)]
    scores.add("calibration/accuracy_at_threshold", right, groups, weights=kept)


def _calibration_error(tested: Sequence[Sample], resamples: int, seed: int) -> Interval:
    import numpy as np

    predicted = np.array([sample.probability for sample in tested])
    correct = np.array([float(sample.correct) for sample in tested])
    return interval_of(
        lambda places: expected_calibration_error(predicted[places], correct[places]),
        [sample.group for sample in tested],
        resamples,
        seed,
    )


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
