"""Trains by TRL's SFTTrainer what a JSON file tells, and prints one JSON object: seconds, memory, loss.

    .peers/bin/python benchmarks/peers/trl_training.py ORDER.json

`settings` are SFTConfig's own names over its defaults. Does not import cdsframe; the examples come tokenised.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
os.environ["HF_HUB_OFFLINE"] = "1"


def main(order: dict[str, Any]) -> dict[str, float]:
    """One training run of one epoch."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(1)
    bfloat16 = order["precision"] == "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(
        order["model"], dtype=getattr(torch, order["precision"]), attn_implementation="sdpa"
    )
    config = SFTConfig(
        output_dir=order["folder"],
        num_train_epochs=1,
        per_device_train_batch_size=order["batch_size"],
        learning_rate=order["learning_rate"],
        lr_scheduler_type="constant",
        seed=order["seed"],
        bf16=bfloat16,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **order["settings"],
    )
    lora = LoraConfig(
        r=order["r"],
        lora_alpha=2 * order["r"],
        lora_dropout=0.0,
        target_modules=order["targets"],
        task_type="CAUSAL_LM",
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(order["train"]),
        peft_config=lora,
        processing_class=AutoTokenizer.from_pretrained(order["model"]),
    )
    started, wall = time.process_time(), time.perf_counter()
    trainer.train()
    spent, wall = time.process_time() - started, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    loss = validation_loss(trainer.model.eval(), order["validation"], bfloat16)
    return {"cpu_seconds": spent, "wall_seconds": wall, "peak_mib": peak, "loss": loss}


def validation_loss(model: Any, examples: list[dict[str, Any]], bfloat16: bool) -> float:
    """Nats per labelled token, example by example."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        for example in examples:
            labels = torch.tensor(example["labels"])[1:]
            logits = model(input_ids=torch.tensor([example["input_ids"]])).logits[0, :-1]
            total += torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum").item()
            count += int((labels != -100).sum())
    return total / count


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))), file=ANSWERS, flush=True)
