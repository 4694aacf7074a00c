"""Whether an evaluation resumes: its process is killed at random moments and started again, until it ends.

    python -m benchmarks.faults_evaluation --kills 20

`evaluate.py` asks a tiny model the hospital's test questions with BM25 and is killed (`kill -9`) at a moment drawn
uniformly from its whole duration, start included. Then the same command runs again, until it ends. Its answers and
metrics must be those of a run that was never interrupted, except for seconds, and each kill may lose one batch at most.

Counted: `kills`; `differing` answers and metrics; `recomputed`, batches computed beyond those of an uninterrupted run;
`corrupt`, runs that cannot resume. A killed run that stands as finished is compared like one that ended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from threading import RLock
from typing import Any

from benchmarks.measuring import headline, last_line

RUN = (
    "model=tiny", "model.compute_dtype=float32", "quantization=none", "embedder=none", "retriever=bm25",
    "index.name=faults", "evaluation.limit=200", "generator.batch_size=2", "generator.max_new_tokens=32",
)  # fmt: skip
IMPORTED = ("peft", "transformers", "cdsframe.evaluation.qa", "cdsframe.generator.transformers", "evaluate")


class Evaluation:
    """`evaluate.py` in a process forked from one that has imported all of it once; notes each batch."""

    def __init__(self, folder: Path, program: str, *overrides: str) -> None:
        nest = multiprocessing.get_context("forkserver")
        nest.set_forkserver_preload([__name__, *IMPORTED])
        self._process = nest.Process(target=_run, args=(str(folder), program, list(overrides)), daemon=True)
        self._process.start()

    def ended(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    @property
    def code(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid or 0, signal.SIGKILL)
        self._process.join()


def _run(folder: str, program: str, overrides: list[str]) -> None:
    from importlib import import_module

    from tqdm import tqdm

    from cdsframe.generator.transformers import TransformersGenerator

    compute = TransformersGenerator._batch

    def counted(self: TransformersGenerator, prompts: list[list[int]]) -> Any:
        found = compute(self, prompts)
        with Path("batches").open("a") as file:
            file.write(f"{len(prompts)}\n")
        return found

    TransformersGenerator._batch = counted  # type: ignore[method-assign]
    tqdm.set_lock(RLock())
    os.chdir(folder)
    with Path("log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.argv = [f"{program}.py", *overrides]
        import_module(program).main()


def results(folder: Path) -> tuple[list[Any], dict[str, float]]:
    """The answers and metrics of the finished run, without seconds."""
    [run] = [file.parent for file in folder.glob("outputs/runs/evaluate/*/metrics.json")]
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return (
        [{key: value for key, value in row.items() if key != "seconds"} for row in rows],
        {key: value for key, value in metrics.items() if "seconds" not in key},
    )


def batches(folder: Path) -> int:
    """Number of batches that were computed."""
    file = folder / "batches"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    headline("kill -9 while evaluating")
    generator, counts = random.Random(args.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        whole.mkdir()
        _must_end(Evaluation(whole, "ingest", "embedder=none", "index.name=faults"), whole)
        shutil.copytree(whole, Path(name) / "empty")
        for attempt in ("warm", "timed"):  # the first one waits for the imports
            folder = Path(name) / attempt
            shutil.copytree(Path(name) / "empty", folder)
            start = time.perf_counter()
            _must_end(Evaluation(folder, "evaluate", *RUN), folder)
            seconds, expected, needed = time.perf_counter() - start, results(folder), batches(folder)
        print(f"{len(expected[0])} answers, {needed} batches, {seconds:.1f} s without a kill", flush=True)
        while counts["kills"] < args.kills:
            counts["runs"] += 1
            folder, tries = Path(name) / f"run-{counts['runs']}", 0
            shutil.copytree(Path(name) / "empty", folder)
            while True:
                evaluation = Evaluation(folder, "evaluate", *RUN)
                spare = counts["kills"] >= args.kills or tries >= 8
                if evaluation.ended(300 if spare else generator.uniform(0, 1.1) * seconds):
                    break
                evaluation.kill()
                tries += 1
                counts["kills"] += 1
                counts["while_answering"] += 0 < batches(folder) < needed
                if list(folder.glob("outputs/runs/evaluate/*/metrics.json")):
                    break  # it had finished: its results are compared like the others
            if evaluation.code not in (0, -signal.SIGKILL):
                counts["corrupt"] += 1
                print((folder / "log").read_text()[-2000:])
                break
            rows, metrics = results(folder)
            counts["differing"] += sum(a != b for a, b in zip(rows, expected[0], strict=True)) + (
                metrics != expected[1]
            )
            counts["recomputed"] += batches(folder) - needed
            counts["over_one_a_kill"] += max(0, batches(folder) - needed - tries)
            print(f"run {counts['runs']}: killed {tries} times, then done; {dict(counts)}", flush=True)
            shutil.rmtree(folder)
    names = ("kills", "differing", "corrupt", "recomputed", "over_one_a_kill", "runs", "while_answering")
    last_line(**{name: counts[name] for name in names}, batches=needed)


def _must_end(process: Evaluation, folder: Path) -> None:
    if not process.ended(300) or process.code:
        raise RuntimeError((folder / "log").read_text()[-2000:])


if __name__ == "__main__":
    main()
