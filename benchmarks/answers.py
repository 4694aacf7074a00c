"""Compares recipes of fine-tuning by the answers of the tuned model on the synthetic hospital.

    python benchmarks/answers.py "long: training.max_epochs=6" "bf16: quantization=none" --seeds 1 2 3

A recipe is a name and Hydra overrides, for the training and the evaluation; overrides of `training`, `optimization`,
`lora` and `callbacks` go to the training alone. Each recipe is trained with each seed and asked the questions of a
split (validation by default: the test split is for the recipe that was chosen) with each retriever. Prints the mean
over the seeds and each seed's value, as answered and with answers withheld: an answer counts as a refusal if its
calibrated probability is below a threshold that aims at a share of right answers. On the validation split, calibration
and threshold are cross-fitted over whole groups of questions; on the test split they come from the validation split, as
`evaluation=calibrate` makes them. What is finished is kept in outputs/benchmarks/answers and not computed again unless
the questions change; after a change of code, delete that folder and outputs/adapters/answers-*.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import OUTPUTS, ROOT
from cdsframe.artifacts.digests import digest
from cdsframe.confidence import Calibrator
from cdsframe.evaluation.calibrate import choose_threshold, split_by_group
from cdsframe.types import JsonObject

METRICS = ("qa/f1", "qa/em", "qa/wrong_dose", "qa/answerable_refused", "qa/refusal_recall")
FOLDS, MINIMUM = 5, 10
INDEX = "index.name=answers"
_TRAINING_ONLY = ("training", "optimization", "lora", "callbacks", "trainer")


def train(overrides: Sequence[str], seed: int, threads: int) -> Path:
    """Trains one adapter; returns its folder."""
    name = f"answers-{digest(*overrides, str(seed), *_questions())[:10]}"
    folder = ROOT / "outputs/adapters" / name
    if not folder.is_dir():
        _run("train.py", [f"name={name}", f"seed={seed}", "index=lance", INDEX, "callbacks.progress=null", *overrides],
             threads, folder.name)  # fmt: skip
    return folder


def evaluate(adapter: Path, overrides: Sequence[str], split: str, threads: int) -> list[JsonObject]:
    """The rows of the answers to the split's questions."""
    both = [one for one in overrides if not one.lstrip("+").startswith(_TRAINING_ONLY)]
    run = OUTPUTS / "answers" / f"{adapter.name}-{digest(split, *both, *_questions())[:6]}"
    if not (run / "metrics.json").is_file():
        _run("evaluate.py", [f"adapter={adapter}", INDEX, f"evaluation.split={split}", f"hydra.run.dir={run}", *both],
             threads, run.name)  # fmt: skip
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def measure(rows: Sequence[JsonObject]) -> list[float]:
    """The values of `METRICS`, as `evaluation=qa` computes them."""
    answerable = [row for row in rows if row["answerable"]]
    means = [fmean(row[name] for row in answerable) for name in ("f1", "em", "wrong_dose", "refused")]
    return [*means, fmean(row["refused"] for row in rows if not row["answerable"])]


def right(row: JsonObject) -> bool:
    """Whether an answer counts as right, as `evaluation=calibrate` decides it by default."""
    return bool(row["answerable"] and row["f1"] >= 0.5 and not row["wrong_dose"])


def answered(rows: Sequence[JsonObject]) -> list[JsonObject]:
    return [row for row in rows if not row["refused"]]


def cross_fitted(rows: Sequence[JsonObject], target: float) -> list[JsonObject]:
    """The rows with answers withheld. An answer's probability comes from a calibration of the other folds, and its
    threshold from the probabilities of the other folds (whose calibrations have seen this fold)."""
    given = answered(rows)
    fold = [int(digest(row["group"])[:8], 16) % FOLDS for row in given]
    parts = [[row for row, one in zip(given, fold, strict=True) if one == own] for own in range(FOLDS)]
    probability: dict[str, float] = {}
    for own, part in enumerate(parts):
        rest = [row for place, other in enumerate(parts) if place != own for row in other]
        fitted = Calibrator.fit([row["features"] for row in rest], [right(row) for row in rest])
        probability |= {row["id"]: fitted.predict(row["features"]) for row in part}
    withheld: set[str] = set()
    for own, part in enumerate(parts):
        rest = [row for place, other in enumerate(parts) if place != own for row in other]
        threshold = choose_threshold(
            [probability[row["id"]] for row in rest], [right(row) for row in rest], target, MINIMUM
        )
        withheld |= {row["id"] for row in part if probability[row["id"]] < threshold}
    return refuse(rows, withheld)


def calibrated(rows: Sequence[JsonObject], validation: Sequence[JsonObject], target: float) -> list[JsonObject]:
    """The rows with answers withheld as by `evaluation=calibrate` on the validation rows: fit and threshold apart."""
    given = answered(validation)
    part_of = split_by_group([row["group"] for row in validation], 1)
    parts = {row["id"]: part for row, part in zip(validation, part_of, strict=True)}
    fitting, choosing = ([row for row in given if parts[row["id"]] == part] for part in ("fit", "threshold"))
    fitted = Calibrator.fit([row["features"] for row in fitting], [right(row) for row in fitting])
    threshold = choose_threshold(
        [fitted.predict(row["features"]) for row in choosing], [right(row) for row in choosing], target, MINIMUM
    )
    return refuse(rows, {row["id"] for row in answered(rows) if fitted.predict(row["features"]) < threshold})


def refuse(rows: Sequence[JsonObject], withheld: set[str]) -> list[JsonObject]:
    """The rows, with refusals instead of some answers."""
    nothing = {"f1": 0.0, "em": 0.0, "wrong_dose": 0.0, "refused": 1.0}
    return [row | nothing if row["id"] in withheld else row for row in rows]


def _questions() -> list[str]:
    """The texts of the files with the questions."""
    return [file.read_text(encoding="utf-8") for file in sorted((ROOT / "cdsframe/hospital").glob("questions-*.jsonl"))]


def _run(script: str, overrides: Sequence[str], threads: int, log: str) -> None:
    (OUTPUTS / "answers").mkdir(parents=True, exist_ok=True)
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    with (OUTPUTS / "answers" / f"{log}.log").open("w", encoding="utf-8") as file:
        command = [sys.executable, script, *overrides]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=file, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed with {done.returncode}; see {file.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", help='"NAME: OVERRIDE OVERRIDE …"')
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--retrievers", nargs="+", default=["hybrid"])
    parser.add_argument("--targets", type=float, nargs="*", default=[0.7, 0.75, 0.8],
                        help="shares of right answers that withholding aims at")  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="OpenMP threads of each process; 0: the default")
    options = parser.parse_args()
    _run("ingest.py", [INDEX], options.threads, "ingest")
    print(f"| recipe, retriever ({options.split}) | {' | '.join(METRICS)} |\n|---|{'---|' * len(METRICS)}", flush=True)
    for recipe in options.recipes:
        name, _, written = recipe.partition(":")
        overrides = shlex.split(written)
        adapters = [train(overrides, seed, options.threads) for seed in options.seeds]
        for retriever in options.retrievers:
            asked = [*overrides, f"retriever={retriever}"]
            found = [evaluate(adapter, asked, options.split, options.threads) for adapter in adapters]
            _print_row(f"{name}, {retriever}", found)
            if options.split == "validation":
                withheld = {target: [cross_fitted(rows, target) for rows in found] for target in options.targets}
            else:
                fits = [evaluate(adapter, asked, "validation", options.threads) for adapter in adapters]
                both = list(zip(found, fits, strict=True))
                withheld = {target: [calibrated(*one, target) for one in both] for target in options.targets}
            for target, runs in withheld.items():
                _print_row(f"… withheld, aiming at {target}", runs)


def _print_row(name: str, runs: Sequence[Sequence[JsonObject]]) -> None:
    columns = zip(*(measure(rows) for rows in runs), strict=True)
    cells = [f"{fmean(values):.3f} ({', '.join(f'{value:.2f}' for value in values)})" for values in columns]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
