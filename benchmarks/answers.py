"""Compares recipes of fine-tuning by the answers of the tuned model on the synthetic hospital.

    python benchmarks/answers.py "long: training.max_epochs=6" "bf16: quantization=none" --seeds 1 2 3

A recipe is a name and Hydra overrides, for the training and the evaluation; overrides of `training`, `optimization`,
`lora` and `callbacks` go to the training alone. Each recipe is trained with each seed and asked the questions of a
split (validation by default: the test split is for the recipe that was chosen) with each retriever. Prints the mean
over the seeds and each seed's value. What is finished is kept in outputs/benchmarks/answers and not computed again
unless the questions change; after a change of code, delete that folder and outputs/adapters/answers-*.
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

METRICS = ("qa/f1", "qa/em", "qa/wrong_dose", "qa/answerable_refused", "qa/refusal_recall")
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


def evaluate(adapter: Path, overrides: Sequence[str], split: str, threads: int) -> dict[str, float]:
    """The metrics of the answers to the split's questions."""
    both = [one for one in overrides if not one.lstrip("+").startswith(_TRAINING_ONLY)]
    run = OUTPUTS / "answers" / f"{adapter.name}-{digest(split, *both, *_questions())[:6]}"
    if not (run / "metrics.json").is_file():
        _run("evaluate.py", [f"adapter={adapter}", INDEX, f"evaluation.split={split}", f"hydra.run.dir={run}", *both],
             threads, run.name)  # fmt: skip
    metrics: dict[str, float] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return metrics


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
            columns = [[metrics[metric] for metrics in found] for metric in METRICS]
            cells = [f"{fmean(values):.3f} ({', '.join(f'{v:.2f}' for v in values)})" for values in columns]
            print(f"| {name}, {retriever} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
