"""Several devices have the losses of one device, and stop and resume together; unsupported settings are errors."""

import csv
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdsframe.trainer import LightningTrainer
from tests.children import child, patience
from tests.entry_points import exit_code, run_train

ROOT = Path(__file__).parent.parent
RUN = [
    "model=tiny", "embedder=none", "retriever=none", "quantization=none", "training.train_limit=11",
    "training.validation_limit=5", "training.max_epochs=2", "callbacks.early_stopping.patience=9",
    "trainer.accelerator=cpu", "callbacks.progress=null", "logger=csv", "lora.lora_dropout=0", "name=demo",
]  # fmt: skip
"""Without dropout, of which each process has its own; with batches that two processes cannot share evenly."""


def losses(folder):
    file = next(folder.glob("outputs/runs/train/*/csv/metrics.csv"))
    with file.open() as rows:
        return [float(row["train/loss"] or row["val/loss"]) for row in csv.DictReader(rows)]


@contextmanager
def two_processes(folder, *overrides):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(ROOT / "train.py"), *RUN, "trainer=ddp", *overrides]
    environment = {name: value for name, value in os.environ.items() if name != "CDSFRAME_DATA"}
    environment["OMP_NUM_THREADS"] = "1"
    with (
        (folder / "output").open("a") as output,
        child(command, cwd=folder, env=environment, stdout=output, stderr=output) as process,
    ):
        yield process


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_and_stop_and_resume_together(tmp_path):
    """To 2e-6 of the loss (sums in another order); one run of two processes is whole, one is stopped in between."""
    alone = tmp_path / "alone"
    run_train(alone, *RUN)

    with two_processes(tmp_path / "two", "callbacks.checkpoint.every_n_train_steps=1") as stopped:
        while stopped.poll() is None and not [*(tmp_path / "two").glob("outputs/runs/train/*/checkpoints/step-*")]:
            time.sleep(0.01)
        stopped.send_signal(signal.SIGTERM)
        code = stopped.wait(patience(120))
    output = (tmp_path / "two" / "output").read_text()
    if code != 0:  # else it had ended already
        assert code == 143, output
        assert output.count("is written; to resume, run the same command with resume=") == 1, (
            "only the first process tells"
        )
        run = next((tmp_path / "two" / "outputs/runs/train").iterdir())
        with two_processes(tmp_path / "two", f"resume={run}") as again:
            assert again.wait(patience(120)) == 0, (tmp_path / "two" / "output").read_text()
    output = (tmp_path / "two" / "output").read_text()
    assert output.count("validation loss") == 1
    assert losses(tmp_path / "two") == pytest.approx(losses(alone), rel=2e-6)
    assert len(losses(alone)) == 2 * 3 + 2


def test_a_multirun_on_several_devices_is_refused(tmp_path, capsys):
    assert exit_code(tmp_path, *RUN, "trainer=ddp", "lora.r=4,8", "-m") == 2
    assert "each process would start the whole multirun; start the jobs one by one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "fsdp"}, "weights from their scales, and train on wrong weights"),
        ({"strategy": "deepspeed_stage_3"}, "sharded training is not supported"),
        ({"strategy": "dp"}, "must be single or ddp"),
        ({"strategy": "single", "devices": 2}, "use trainer=ddp"),
        ({"strategy": "single", "num_nodes": 2}, "use trainer=ddp"),
    ],
)
def test_unsupported_settings_are_refused_with_the_reason(settings, message):
    assert message in LightningTrainer.problems(**{"devices": None, "num_nodes": 1, "options": {}, **settings})[0]


def test_supported_settings_are_not_refused():
    assert LightningTrainer.problems("single", 1, 1, {}) == LightningTrainer.problems("ddp", None, 4, {}) == []
    assert LightningTrainer.problems("single", 1, 1, {"detect_anomaly": True, "deterministic": "warn"}) == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("gradient_clip_val", "trainer.options.gradient_clip_val is set by cdsframe; use optimization.clip_norm"),
        ("accumulate_grad_batches", "use training.batch_size and training.micro_batch_size"),
        ("max_steps", "trainer.options.max_steps is not an option here; use trainer.max_steps"),
        ("detect_anomalie", "is no argument of Lightning's Trainer; did you mean detect_anomaly?"),
    ],
)
def test_an_option_that_trainer_cannot_take_is_refused_with_the_key_to_use(option, message):
    (problem,) = LightningTrainer.problems("single", 1, 1, {option: 1})
    assert message in problem


@pytest.mark.parametrize(
    ("limits", "batches", "steps"),
    [
        ({}, 7, 21),
        ({"max_steps": 5}, 7, 5),
        ({"max_steps": 99}, 7, 21),
        ({"limit_train_batches": 2}, 2, 6),
        ({"limit_train_batches": 0.5}, 3, 9),
        ({"overfit_batches": 1}, 1, 3),
        ({"fast_dev_run": 2}, 2, 2),
    ],
)
def test_batches_and_steps_are_limited(limits, batches, steps):
    settings = {
        "max_steps": None, "max_time": None, "limit_train_batches": None, "limit_val_batches": None,
        "overfit_batches": 0, "fast_dev_run": 0, "profiler": None, "options": {}, **limits,
    }  # fmt: skip
    trainer = LightningTrainer("cpu", "single", 1, 1, **settings)
    assert (trainer.batches(7), trainer.steps(7, 3)) == (batches, steps)
