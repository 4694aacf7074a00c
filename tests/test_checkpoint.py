"""A run that was interrupted goes on to the same losses; what is torn, foreign or does not fit on the disk is told."""

import csv
import json
import os
import random
import resource
import signal
import threading
import time
from types import SimpleNamespace

import numpy
import pytest
import torch

from cdsframe.artifacts.packaged import weights_digest
from cdsframe.errors import CdsframeError, InputError
from cdsframe.training import fitting
from cdsframe.training.batches import Batches, Layout
from cdsframe.training.checkpoint import Checkpoints, alone, random_states, restore_random_states
from cdsframe.training.fitting import Plan, TrainingLoop, TrainingState
from cdsframe.training.module import SupervisedFineTuning
from tests.entry_points import run_folder, run_train

TENSORS = {"weights": {"a": torch.arange(6.0).view(2, 3)}, "optimizer": {"0.step": torch.tensor(3.0)}}
IDENTITY = {"training examples": "x", "model": None}
RUN = [
    "model=tiny", "embedder=none", "retriever=none", "quantization=none", "training.train_limit=12",
    "training.validation_limit=4", "training.max_epochs=3", "training.patience=9", "training.checkpoint_steps=2",
    "trainer=cpu", "trainer.progress=false", "logger=csv", "name=demo",
]  # fmt: skip
"""Three steps an epoch, a checkpoint every two: in the middle of an epoch too. LoRA's dropout uses random states."""


def losses(run):
    """Step and loss, of training and of validation, exactly as they were written."""
    with (run / "csv" / "metrics.csv").open() as rows:
        return [(row["step"], row["train/loss"], row["val/loss"]) for row in csv.DictReader(rows)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run_train(folder, *RUN)
    return folder


def interrupted(folder, step, overrides=RUN):
    """A run that dies right after a step, before anything is written of it."""

    class KilledError(Exception):
        pass

    def dying(fit, *rest):
        if fit.course.step == step:
            raise KilledError
        return keep(fit, *rest)

    keep = TrainingLoop._keep_or_stop
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting.TrainingLoop, "_keep_or_stop", dying)
        with pytest.raises(KilledError):
            run_train(folder, *overrides)
    return run_folder(folder)


# ------------------------------------------------------------------------------------------------ going on


@pytest.mark.parametrize("step", [1, 5, 7, 9])
def test_a_run_that_was_killed_goes_on_to_the_same_losses_and_adapter(tmp_path, whole, step):
    """Before the first checkpoint, in the middle of an epoch (twice), and after the last step. Bit by bit."""
    run = interrupted(tmp_path, step)
    run_train(tmp_path, *RUN, f"resume={run}")
    assert losses(run) == losses(run_folder(whole))
    assert len(losses(run)) == 9 + 3
    assert weights_digest(tmp_path / "outputs/adapters/demo") == weights_digest(whole / "outputs/adapters/demo")
    assert not (run / "checkpoints").exists(), "they are removed when the run has ended"


def test_the_last_two_are_kept_and_a_torn_one_is_passed_over(tmp_path, whole, capsys):
    run = interrupted(tmp_path, 9)
    kept = sorted((run / "checkpoints").iterdir())
    assert [folder.name for folder in kept] == ["step-00000006", "step-00000008"]
    weights = kept[1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    run_train(tmp_path, *RUN, f"resume={run}")
    told = capsys.readouterr().out
    assert "step-00000008 is torn (weights.safetensors is not as it was written)" in told
    assert "going on from the one before it, step-00000006" in told
    assert losses(run) == losses(run_folder(whole))


def test_a_run_that_has_ended_is_not_trained_again(whole, capsys):
    before = (run_folder(whole) / "manifest.json").read_bytes()
    run_train(whole, *RUN, f"resume={run_folder(whole)}")
    assert "validation loss" in capsys.readouterr().out
    assert (run_folder(whole) / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_the_step_with_a_checkpoint(tmp_path, whole, number, code, capsys):
    def asked(tuning, batch, step):
        if step == 4:
            os.kill(os.getpid(), number)
        return update(tuning, batch, step)

    update = SupervisedFineTuning.update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SupervisedFineTuning, "update", asked)
        with pytest.raises(SystemExit) as stopped:
            run_train(tmp_path, *RUN)
    assert stopped.value.code == code
    run = run_folder(tmp_path)
    assert f"step 5 is kept; go on with the same and resume={run}" in capsys.readouterr().err
    assert (run / "checkpoints" / "step-00000005").is_dir()
    run_train(tmp_path, *RUN, f"resume={run}")
    assert losses(run) == losses(run_folder(whole))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["lora.r=8"], "lora.r was 16 and is 8 now"),
        (["training.learning_rate=1"], "training.learning_rate was 0.001 and is 1 now"),
        (["lora=attention"], "lora.target_modules"),
    ],
)
def test_a_run_of_another_configuration_is_refused_with_what_differs(tmp_path, whole, changed, told, capsys):
    run = run_folder(whole)
    with pytest.raises(SystemExit) as stopped:
        run_train(tmp_path, *RUN, *changed, f"resume={run}")
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert f"it was started with the overrides: {RUN[0]} {RUN[1]}" in said


def test_what_cannot_be_gone_on_with_is_refused(tmp_path, whole, capsys):
    for overrides, told in (
        ([f"resume={tmp_path}"], "is not the folder of a run"),
        (["resume=nowhere"], "resume: no folder nowhere"),
        ([f"resume={run_folder(whole)}", "-m"], "-m starts a multirun"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run_train(tmp_path, *RUN, *overrides)
        assert stopped.value.code == 2
        assert told in capsys.readouterr().err


def test_other_examples_are_foreign(tmp_path, capsys):
    run = interrupted(tmp_path, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdsframe.training.sft._digest", lambda examples: "changed")
        with pytest.raises(SystemExit) as stopped:
            run_train(tmp_path, *RUN, f"resume={run}")
    assert stopped.value.code == 1
    assert "is of another run (other training examples, validation examples)" in capsys.readouterr().err
    assert (run / "checkpoints" / "step-00000004").is_dir(), "it is left as it was"


# ------------------------------------------------------------------------------------------------ the files


def test_what_was_saved_comes_back_exactly(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", IDENTITY)
    assert checkpoints.latest() is None
    state = {"course": {"lowest": float("inf"), "seconds": 0.1}}
    checkpoints.save(3, TENSORS, state)
    tensors, found = checkpoints.latest()
    assert found == state
    for file, values in TENSORS.items():
        for name, value in values.items():
            assert torch.equal(tensors[file][name], value)
    names = {file.name for file in (tmp_path / "checkpoints" / "step-00000003").iterdir()}
    assert names == {"weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "absent", "changed"])
def test_every_torn_file_is_seen(tmp_path, file, damage):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, TENSORS, {"n": 1})
    checkpoints.save(2, TENSORS, {"n": 2})
    torn = tmp_path / "step-00000002" / file
    if damage == "absent":
        torn.unlink()
    else:
        content = torn.read_bytes()
        torn.write_bytes(content[: len(content) // 2] if damage == "cut" else content.replace(b"2", b"3", 1) + b" ")
    if file == "manifest.json" and damage == "changed":
        assert checkpoints.latest() is not None, "the manifest has no digest of itself; what it says is checked"
        return
    assert checkpoints.latest()[1] == {"n": 1}
    assert (tmp_path / "step-00000002.refused").is_dir()


def test_a_checkpoint_of_another_format_is_not_called_torn(tmp_path):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, TENSORS, {"n": 1})
    manifest = tmp_path / "step-00000001" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 99}))
    with pytest.raises(InputError, match="step-00000001 was written by another cdsframe"):
        checkpoints.latest()


def test_a_kill_while_writing_leaves_the_ones_before_and_no_rubbish(tmp_path):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, TENSORS, {"n": 1})
    partial = tmp_path / ".step-00000002.abc_1234.partial"
    partial.mkdir()
    (partial / "weights.safetensors").write_bytes(b"half")
    assert checkpoints.latest()[1] == {"n": 1}
    assert not partial.exists()


def test_a_checkpoint_that_does_not_fit_is_told_and_the_one_before_is_intact(tmp_path):
    """A limit on a file's size stands for a full disk: the same write fails in the same place."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", IDENTITY)
    checkpoints.save(1, TENSORS, {"n": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(CdsframeError, match=r"step 2 could not be written to .*; that of step 1 is whole; make"):
            checkpoints.save(2, {"weights": {"a": torch.zeros(100_000)}}, {"n": 2})
        with pytest.raises(CdsframeError, match=r"File too large.*that of step 1 is whole"):
            checkpoints.save(2, TENSORS, {"n": "x" * 200_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoints.latest()[1] == {"n": 1}
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_only_one_process_trains_in_a_folder(tmp_path):
    with alone(tmp_path), pytest.raises(InputError, match="another process is training"), alone(tmp_path):
        pass


def test_random_states_come_back_through_json():
    def drawn():
        return [random.random(), random.gauss(0, 1), float(numpy.random.rand()), *torch.rand(3).tolist()]

    random.gauss(0, 1)  # leaves a second one for the next call
    numpy.random.standard_normal()
    states = json.loads(json.dumps(random_states()))
    first = drawn()
    restore_random_states(states)
    assert drawn() == first


# ------------------------------------------------------------------------------------------------ the course


class _Tuning:
    """Takes no time and learns nothing: what is asked of it is counted."""

    model = None

    def __init__(self, validations=()):
        self.updates, self._validations = 0, iter(validations)

    def update(self, batch, step):
        self.updates += 1
        return {"train/loss": 1.0}

    def validate(self, batches, stop):
        return None if stop() else next(self._validations, 1.0)

    def state(self):
        return {"weights": {}}, {}


def _fit(tmp_path, tuning, epoch=5, **plan):
    settings = {"steps": 10, "validations": 1, "patience": 99, "checkpoint_steps": None, "checkpoint_minutes": None}
    one = SimpleNamespace(
        first=True,
        rank=0,
        device=torch.device("cpu"),
        broadcast=lambda value: value,
        any=lambda *flags: list(flags),
        gather=lambda value: [value],
    )
    batches = type("Batches", (), {"__len__": lambda _: epoch, "after": lambda *_: iter(lambda: {"tokens": 1}, None)})()
    keeper = SimpleNamespace(validated=lambda loss, course: None, resume=lambda: None)
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    return TrainingLoop(
        Plan(**{**settings, "progress": False, **plan}), tuning, batches, [], one, checkpoints, keeper, []
    )


def test_training_stops_after_so_many_validations_without_a_lower_loss(tmp_path):
    course = _fit(tmp_path, _Tuning([3.0, 2.0, 2.0, 2.5]), validations=5, patience=2).run()
    assert course.step == 4
    assert course.lowest == 2.0


@pytest.mark.parametrize(
    ("epoch", "validations", "expected"),
    [(8, 5, [2, 4, 5, 7, 8]), (10, 3, [4, 7, 10]), (5, 1, [5]), (2, 4, [1, 2])],
)
def test_so_many_validations_an_epoch_the_last_at_its_end(tmp_path, epoch, validations, expected):
    fit = _fit(tmp_path, _Tuning(), steps=epoch, validations=validations, epoch=epoch)
    assert [row["step"] for row in fit.run().history if "val/loss" in row] == expected


@pytest.mark.filterwarnings("ignore:Paged optimizers:UserWarning")
@pytest.mark.parametrize("optimizer", ["adamw", "paged_adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_every_optimizer_goes_on_from_a_checkpoint_bit_by_bit(tmp_path, optimizer):
    """Matrices of 4,096 weights and more have 8-bit moments, with tables that they share."""

    def made():
        torch.manual_seed(0)
        one = SimpleNamespace(device=torch.device("cpu"), world_size=1, sum=lambda tensor: tensor)
        layers = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.Linear(64, 64))
        tuning = SupervisedFineTuning(layers, 1e-2, 0.1, 0.01, 1.0, optimizer, 1.0, total_steps=8, devices=one)
        tuning._loss_sum = lambda micro: (layers(micro) ** 2).sum()
        return layers, tuning

    inputs = torch.randn(8, 4, 128, generator=torch.Generator().manual_seed(1))
    batches = [{"micro": [row], "labelled": 4, "ids": ["a"]} for row in inputs]
    whole, tuning = made()
    for step, batch in enumerate(batches):
        if step == 5:
            Checkpoints(tmp_path, IDENTITY).save(step, *_two(tuning.state()))
        tuning.update(batch, step)
    again, tuning = made()
    tensors, state = Checkpoints(tmp_path, IDENTITY).latest()
    tuning.restore(tensors, state["optimizer"])
    for step, batch in enumerate(batches[5:], start=5):
        tuning.update(batch, step)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def _two(state):
    tensors, numbers = state
    return tensors, {"optimizer": numbers}


def test_the_last_step_is_always_validated(tmp_path):
    course = _fit(tmp_path, _Tuning(), steps=7).run()
    assert [row["step"] for row in course.history if "val/loss" in row] == [5, 7]


def test_checkpoints_by_minutes(tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 10))  # seconds: three calls a step
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    _fit(tmp_path, _Tuning(), checkpoint_minutes=2).run()
    assert [folder.name for folder in sorted(tmp_path.iterdir())] == ["step-00000004", "step-00000008"]


def test_a_signal_ends_a_long_validation(tmp_path):
    tuning = _Tuning()
    tuning.validate = lambda batches, stop: (os.kill(os.getpid(), signal.SIGTERM), None if stop() else 1.0)[1]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="step 5 is kept"):
        _fit(tmp_path, tuning).run()
    assert tuning.updates == 5
    assert (tmp_path / "step-00000005").is_dir()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_other_than_the_main_one_can_train(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(_fit(tmp_path, _Tuning()).run()))
    thread.start()
    thread.join()
    assert found[0].step == 10


def test_batches_go_on_where_they_were():
    examples = [type("E", (), {"__len__": lambda self, n=n: n, "id": str(n)})() for n in range(5, 28)]
    for example in examples:
        example.encoded = SimpleNamespace(labelled=1, input_ids=[0] * len(example), labels=[0] * len(example))
    batches = Batches(examples, 4, Layout(4, None, 0), seed=1, shuffle=True)
    stream = batches.after(0)
    ids = [next(stream)["ids"] for _ in range(20)]
    for step in (1, 6, 8):
        later = batches.after(step)
        assert [next(later)["ids"] for _ in range(20 - step)] == ids[step:]
    assert ids[:6] != ids[6:12]


def test_the_course_is_told_again_after_a_break():
    assert TrainingState(**json.loads(json.dumps({"step": 3, "lowest": 1.5}))).step == 3


def test_a_loss_that_is_not_finite_stops_with_the_batchs_ids_and_changes_nothing():
    one = SimpleNamespace(device=torch.device("cpu"), world_size=1, sum=lambda tensor: tensor)
    for value, what in ((float("nan"), "loss"), (1.0, "gradient's norm")):
        layer = torch.nn.Linear(2, 1, bias=False)
        tuning = SupervisedFineTuning(layer, 1.0, 0.1, 0.0, 1.0, "adamw", 1.0, total_steps=9, devices=one)
        wild = float("inf") if value == 1.0 else 1.0
        layer.weight.register_hook(lambda gradient, wild=wild: gradient * wild)
        tuning._loss_sum = lambda micro, layer=layer, value=value: layer(torch.ones(2)).sum() * value
        before = layer.weight.detach().clone()
        with pytest.raises(CdsframeError, match=rf"the {what} became .* at step 4, in the batch q7, q8"):
            tuning.update({"micro": [{}], "labelled": 1, "ids": ["q7", "q8"], "tokens": 2}, 3)
        assert torch.equal(layer.weight, before)
