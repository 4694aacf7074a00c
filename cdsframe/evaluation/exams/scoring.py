"""Scores exams: log-likelihoods of options, as `predictions.jsonl` has them, to chosen options and to metrics.

Pure: runs no model, reads no file. `evaluation=mcq` and `evaluation=lm_eval` use it while they run; it can be repeated
on their rows later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdsframe.errors import InputError, named
from cdsframe.evaluation.exams.option_positions import longest, macro_f1, majority, moved
from cdsframe.evaluation.finished_run import is_number
from cdsframe.evaluation.result import Scores
from cdsframe.evaluation.statistics import paired_difference
from cdsframe.types import Choice, JsonObject, Metrics

TIE = 1e-5
"""Nats: log-likelihoods that differ by less count as tied (float32 rounding of the sums)."""

BY_SHIFT = "log_likelihoods_by_shift"
"""Column: the log-likelihoods of the letters with the options moved by 0, 1, … over the letters."""


def decided(row: JsonObject) -> JsonObject:
    """The columns that follow from a row's log-likelihoods. If n options tie for the best, each counts 1 / n.

    `predicted` is None if options tie, `tied` lists them. Of a row with shifts: the mean score over the shifts, the
    option (by its letter in the question itself) that each shift chose, and whether all chose the same.
    """
    letters, gold, scores = list(row["options"]), row["gold"], row["log_likelihoods"]
    texts = row["options"] if _by_text(row) else {letter: letter for letter in letters}
    best = _best(scores)
    by_byte = _best(scores, {letter: len(text.encode()) for letter, text in texts.items()})
    found: JsonObject = {
        "predicted": best[0] if len(best) == 1 else None,
        "tied": best if len(best) > 1 else [],
        "correct": (gold in best) / len(best),
        "correct_per_byte": (gold in by_byte) / len(by_byte),
    }
    if BY_SHIFT in row:
        by_shift = [[moved(letters, letter, by) for letter in _best(s)] for by, s in enumerate(row[BY_SHIFT])]
        chosen = [one[0] if len(one) == 1 else None for one in by_shift]
        found["permuted_correct"] = sum((gold in one) / len(one) for one in by_shift) / len(by_shift)
        found["same_option"] = float(None not in chosen and len(set(chosen)) == 1)
        found["chosen_by_shift"] = chosen
    return found


def exam_metrics(rows: Sequence[JsonObject], where: str) -> Metrics:
    """The metrics of an exam, each with a 95 % interval where questions are counted.

    With two data sets or more, each has the whole set of metrics below `mcq/NAME/`. Beside each accuracy stands what
    strategies without knowledge score on the same questions.

    Args:
        rows: of `predictions.jsonl`: `id`, `options`, `gold`, `log_likelihoods`, `form`, and optionally `dataset`,
            `group` and `log_likelihoods_by_shift`. Columns that follow from these are computed, not read.
        where: begins the messages of errors.

    Raises InputError if there is no row, or a row cannot be scored.
    """
    if not rows:
        raise InputError(f"{where}: no questions to score")
    for number, row in enumerate(rows, start=1):
        if reason := _unusable(row):
            raise InputError(f"{where}, row {number}: {reason}; evaluate again")
    scored = [{**row, **decided(row)} for row in rows]
    metrics = _block("mcq", scored)
    names = sorted({str(row.get("dataset") or "") for row in scored})
    if len(names) == 1:
        accuracy = {key: value for key, value in metrics.items() if key.startswith("mcq/accuracy")}
        return metrics | {key.replace("mcq/", f"mcq/{names[0]}/"): value for key, value in accuracy.items() if names[0]}
    for name in filter(None, names):
        metrics |= _block(f"mcq/{name}", [row for row in scored if str(row.get("dataset") or "") == name])
    return metrics


def _block(name: str, rows: Sequence[JsonObject]) -> Metrics:
    """The metrics of these rows, below `name`."""
    choices = [_choice(row) for row in rows]
    scores, groups = Scores(), [choice.group for choice in choices]
    correct = [row["correct"] for row in rows]
    scores.add(f"{name}/accuracy", correct, groups)
    if all(map(_by_text, rows)):
        scores.add(f"{name}/accuracy_per_byte", [row["correct_per_byte"] for row in rows], groups)
    if all(BY_SHIFT in row for row in rows):
        scores.add(f"{name}/permuted_accuracy", [row["permuted_correct"] for row in rows], groups)
        scores.add(f"{name}/same_option", [row["same_option"] for row in rows], groups)
    scores.add(f"{name}/majority_letter", majority(choices), groups)
    scores.add(f"{name}/longest_option", longest(choices), groups)
    scores.put(f"{name}/above_majority_letter", paired_difference(majority(choices), correct, groups))
    chosen = [row["predicted"] for row in rows]
    letters = sorted({letter for choice in choices for letter in choice.options})
    return scores.metrics | {
        f"{name}/chance": sum(1 / len(choice.options) for choice in choices) / len(choices),
        f"{name}/macro_f1": macro_f1([choice.answer for choice in choices], chosen),
        **{f"{name}/chosen/{letter}": chosen.count(letter) / len(chosen) for letter in letters},
        f"{name}/questions": len(choices),
        f"{name}/ties": sum(bool(row["tied"]) for row in rows),
    }


def _choice(row: JsonObject) -> Choice:
    dataset, group = str(row.get("dataset") or ""), str(row.get("group") or "")
    return Choice(str(row["id"]), str(row.get("question", "")), row["options"], row["gold"], dataset, group)


def _by_text(row: JsonObject) -> bool:
    """Whether the options' texts were scored, not their letters."""
    return str(row.get("form", "")).partition(",")[0] == "text"


def _best(scores: Mapping[str, float], lengths: Mapping[str, int] | None = None) -> list[str]:
    """The letters of the highest score, per byte if lengths are given, and of scores that are tied with it.

    Scores are tied if a change of one of the two log-likelihoods by at most `TIE` makes them equal.
    """
    sizes = lengths or dict.fromkeys(scores, 1)
    means = {letter: score / sizes[letter] for letter, score in scores.items()}
    best = max(means, key=means.__getitem__)
    return [letter for letter, mean in means.items() if (means[best] - mean) * min(sizes[letter], sizes[best]) <= TIE]


def _unusable(row: JsonObject) -> str:
    """Why a row cannot be scored; empty if it can."""
    options = row.get("options")
    if not isinstance(row.get("id"), str) or not isinstance(options, dict) or len(options) < 2:
        return "expected id and options, as evaluation=mcq and evaluation=lm_eval write them"
    if not all(isinstance(text, str) and (text or not _by_text(row)) for text in options.values()):
        return f"{named(row['id'])}: every option must be a text"
    if not isinstance(row.get("gold"), str) or row["gold"] not in options:
        return f"{named(row['id'])}: gold must be the letter of an option"
    return _unusable_scores(row, options)


def _unusable_scores(row: JsonObject, options: Mapping[str, str]) -> str:
    shifted = row.get(BY_SHIFT, [row.get("log_likelihoods")] * len(options))
    if not isinstance(shifted, list) or len(shifted) != len(options):
        return f"{named(row['id'])}: {BY_SHIFT} must have one entry for each option"
    for scores in (row.get("log_likelihoods"), *shifted):
        if not isinstance(scores, dict) or set(scores) != set(options):
            return f"{named(row['id'])}: log_likelihoods must have one number for each option"
        if not all(map(is_number, scores.values())):
            return f"{named(row['id'])}: log_likelihoods must be finite numbers"
    if shifted[0] != row["log_likelihoods"]:
        return f"{named(row['id'])}: log_likelihoods must equal the first of {BY_SHIFT}"
    return ""
