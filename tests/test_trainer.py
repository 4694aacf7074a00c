"""Several devices: the losses of one, what is refused, and that they stop and go on together."""

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
    "training.validation_limit=5", "training.max_epochs=2", "callbacks.early_stopping.patience=9", "trainer.accelerator=cpu",
    "callbacks.progress=null", "logger=csv", "lora.lora_dropout=0", "name=demo",
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
        (folder / "told").open("a") as told,
        child(command, cwd=folder, env=environment, stdout=told, stderr=told) as process,
    ):
        yield process


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_and_stop_and_go_on_together(tmp_path):
    """To 1e-5 of the loss (sums in another order); one run of two processes is whole, one is stopped in between."""
    alone = tmp_path / "alone"
    run_train(alone, *RUN)

    with two_processes(tmp_path / "two", "callbacks.checkpoint.every_n_train_steps=1") as stopped:
        while stopped.poll() is None and not [*(tmp_path / "two").glob("outputs/runs/train/*/checkpoints/step-*")]:
            time.sleep(0.01)
        stopped.send_signal(signal.SIGTERM)
        code = stopped.wait(patience(120))
    told = (tmp_path / "two" / "told").read_text()
    if code != 0:  # else it had ended already
        assert code == 143, told
        assert told.count("is kept; go on with the same and resume=") == 1, "only the first process tells"
        run = next((tmp_path / "two" / "outputs/runs/train").iterdir())
        with two_processes(tmp_path / "two", f"resume={run}") as again:
            assert again.wait(patience(120)) == 0, (tmp_path / "two" / "told").read_text()
    told = (tmp_path / "two" / "told").read_text()
    assert told.count("validation loss") == 1
    assert losses(tmp_path / "two") == pytest.approx(losses(alone), rel=1e-5)
    assert len(losses(alone)) == 2 * 3 + 2


def test_a_multirun_on_several_devices_is_refused(tmp_path, capsys):
    assert exit_code(tmp_path, *RUN, "trainer=ddp", "lora.r=4,8", "-m") == 2
    assert "each process would start the whole multirun; start the jobs one by one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"strategy": "fsdp"}, "weights from their scales, and train on wrong weights"),
        ({"strategy": "deepspeed_stage_3"}, "sharded training is refused"),
        ({"strategy": "dp"}, "must be single or ddp"),
        ({"strategy": "single", "devices": 2}, "use trainer=ddp"),
        ({"strategy": "single", "num_nodes": 2}, "use trainer=ddp"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(settings, told):
    assert told in LightningTrainer.problems(**{"devices": None, "num_nodes": 1, **settings})[0]


def test_what_can_be_is_not_refused():
    assert LightningTrainer.problems("single", 1, 1) == LightningTrainer.problems("ddp", None, 4) == []


def test_steps_are_limited():
    def trainer(max_steps):
        return LightningTrainer("cpu", "single", 1, 1, max_steps, False)

    assert trainer(None).steps(7) == 7
    assert trainer(5).steps(7) == 5
    assert trainer(9).steps(7) == 7
