"""A resumed run has the losses of an uninterrupted run; damaged, foreign and unwritable checkpoints are reported."""

import csv
import json
import os
import random
import resource
import signal
import threading
from types import SimpleNamespace

import numpy
import pytest
import torch

from cdsframe.artifacts.packaged import weights_digest
from cdsframe.callbacks.checkpoint_files import Checkpoints, alone
from cdsframe.callbacks.checkpointing import ResumeCheckpoint
from cdsframe.callbacks.random_states import random_states, restore_random_states
from cdsframe.callbacks.stopping import EarlyStopping
from cdsframe.errors import CdsframeError, InputError
from cdsframe.optimization import Optimization
from cdsframe.trainer import LightningTrainer
from cdsframe.training.batches import Batches, Layout
from cdsframe.training.data_module import EpochLoader
from cdsframe.training.fitting import Fitting
from cdsframe.training.module import TrainingModule
from tests.entry_points import run_folder, run_train

CONTENT = {
    "state_dict": {"a": torch.arange(6.0).view(2, 3)},
    "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": [0.9, 0.99]}]}],
}
IDENTITY = {"training examples": "x", "model": None}
RUN = [
    "model=tiny", "embedder=none", "retriever=none", "quantization=none", "training.train_limit=12",
    "training.validation_limit=4", "training.max_epochs=3", "callbacks.early_stopping.patience=9",
    "callbacks.checkpoint.every_n_train_steps=2", "trainer=cpu", "callbacks.progress=null", "logger=csv", "name=demo",
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


def interrupted(folder, step, overrides=RUN, moment="on_train_batch_end"):
    """A run that is killed after a step, at a callback's hook, before a checkpoint is written there."""

    class KilledError(Exception):
        pass

    def dying(callback, trainer, *rest):
        if trainer.global_step == step and trainer.state.fn == "fit":
            raise KilledError
        return hook(callback, trainer, *rest)

    hook = getattr(ResumeCheckpoint, moment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumeCheckpoint, moment, dying)
        with pytest.raises(KilledError):
            run_train(folder, *overrides)
    return run_folder(folder)


# ------------------------------------------------------------------------------------------------ going on


@pytest.mark.parametrize(
    ("step", "moment"),
    [
        (1, "on_train_batch_end"),
        (5, "on_train_batch_end"),
        (7, "on_train_batch_end"),
        (9, "on_train_batch_end"),
        (6, "on_validation_start"),
        (6, "on_validation_end"),
        (6, "on_train_epoch_end"),
        (9, "on_train_epoch_end"),
    ],
)
def test_a_killed_run_resumes_to_the_same_losses_and_adapter(tmp_path, whole, step, moment):
    """Before the first checkpoint, in an epoch, around a validation, and after the last step. Bit by bit."""
    run = interrupted(tmp_path, step, moment=moment)
    run_train(tmp_path, *RUN, f"resume={run}")
    assert losses(run) == losses(run_folder(whole))
    assert len(losses(run)) == 9 + 3
    assert weights_digest(tmp_path / "outputs/adapters/demo") == weights_digest(whole / "outputs/adapters/demo")
    assert not (run / "checkpoints").exists(), "they are removed when the run has ended"


def test_the_last_two_checkpoints_are_kept_and_a_damaged_one_is_skipped(tmp_path, whole, capsys):
    run = interrupted(tmp_path, 9)
    kept = sorted((run / "checkpoints").iterdir())
    assert [folder.name for folder in kept] == ["step-00000006", "step-00000008"]
    weights = kept[1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    run_train(tmp_path, *RUN, f"resume={run}")
    logged = capsys.readouterr().out
    assert "step-00000008 is damaged (weights.safetensors differs from what was written)" in logged
    assert "resuming from the earlier step-00000006" in logged
    assert losses(run) == losses(run_folder(whole))


def test_a_complete_run_is_not_trained_again(whole, capsys):
    before = (run_folder(whole) / "manifest.json").read_bytes()
    run_train(whole, *RUN, f"resume={run_folder(whole)}")
    assert "validation loss" in capsys.readouterr().out
    assert (run_folder(whole) / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_the_step_with_a_checkpoint(tmp_path, whole, number, code, capsys):
    def asked(module, batch, batch_idx):
        if module.global_step == 4:
            os.kill(os.getpid(), number)
        return step(module, batch, batch_idx)

    step = TrainingModule.training_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", asked)
        with pytest.raises(SystemExit) as stopped:
            run_train(tmp_path, *RUN)
    assert stopped.value.code == code
    run = run_folder(tmp_path)
    said = capsys.readouterr().err
    assert f"the checkpoint of step 5 is written; to resume, run the same command with resume={run}" in said
    assert (run / "checkpoints" / "step-00000005").is_dir()
    run_train(tmp_path, *RUN, f"resume={run}")
    assert losses(run) == losses(run_folder(whole))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["lora.r=8"], "lora.r was 16 and is 8 now"),
        (["optimization.learning_rate=1"], "optimization.learning_rate was 0.001 and is 1 now"),
        (["lora=attention"], "lora.target_modules"),
    ],
)
def test_resuming_with_another_configuration_reports_the_differences(tmp_path, whole, changed, message, capsys):
    run = run_folder(whole)
    with pytest.raises(SystemExit) as stopped:
        run_train(tmp_path, *RUN, *changed, f"resume={run}")
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert f"it was started with the overrides: {RUN[0]} {RUN[1]}" in said


def test_resuming_from_an_unusable_folder_is_an_error(tmp_path, whole, capsys):
    for overrides, message in (
        ([f"resume={tmp_path}"], "is not the folder of a run"),
        (["resume=nowhere"], "resume: no folder nowhere"),
        ([f"resume={run_folder(whole)}", "-m"], "-m starts a multirun"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run_train(tmp_path, *RUN, *overrides)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_a_checkpoint_of_other_examples_is_refused(tmp_path, capsys):
    run = interrupted(tmp_path, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdsframe.training.sft._digest", lambda examples: "changed")
        with pytest.raises(SystemExit) as stopped:
            run_train(tmp_path, *RUN, f"resume={run}")
    assert stopped.value.code == 1
    assert "is of another run (its training examples, validation examples differ)" in capsys.readouterr().err
    assert (run / "checkpoints" / "step-00000004").is_dir(), "it is left as it was"


# ------------------------------------------------------------------------------------------------ the files


def test_a_checkpoint_is_read_exactly_as_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", IDENTITY)
    assert checkpoints.latest() is None
    state = {"best": {"lowest": float("inf"), "seconds": 0.1, "none": None}, "pairs": {3: {"a": [True]}}}
    checkpoints.save(3, {**CONTENT, **state})
    found = checkpoints.read(checkpoints.latest())
    assert {key: found[key] for key in state} == state
    assert torch.equal(found["state_dict"]["a"], CONTENT["state_dict"]["a"])
    (optimizer,) = found["optimizer_states"]
    assert optimizer["param_groups"] == [{"betas": [0.9, 0.99]}]
    assert torch.equal(optimizer["state"][0]["step"], torch.tensor(3.0))
    names = {file.name for file in (tmp_path / "checkpoints" / "step-00000003").iterdir()}
    assert names == {"weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "absent", "changed"])
def test_every_damaged_file_is_detected(tmp_path, file, damage):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, CONTENT | {"n": 1})
    checkpoints.save(2, CONTENT | {"n": 2})
    torn = tmp_path / "step-00000002" / file
    if damage == "absent":
        torn.unlink()
    else:
        content = torn.read_bytes()
        torn.write_bytes(content[: len(content) // 2] if damage == "cut" else content.replace(b"2", b"3", 1) + b" ")
    if file == "manifest.json" and damage == "changed":
        assert checkpoints.latest() is not None, "the manifest has no digest of itself; what it says is checked"
        return
    assert checkpoints.latest().name == "step-00000001"
    assert (tmp_path / "step-00000002.refused").is_dir()


def test_a_checkpoint_of_another_format_is_not_called_damaged(tmp_path):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, CONTENT | {"n": 1})
    manifest = tmp_path / "step-00000001" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 99}))
    with pytest.raises(InputError, match="step-00000001 was written by another version of cdsframe"):
        checkpoints.latest()


def test_a_kill_while_writing_keeps_earlier_checkpoints_and_no_partial_files(tmp_path):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, CONTENT | {"n": 1})
    partial = tmp_path / ".step-00000002.abc_1234.partial"
    partial.mkdir()
    (partial / "weights.safetensors").write_bytes(b"half")
    assert checkpoints.latest().name == "step-00000001"
    assert not partial.exists()


def test_a_full_disk_is_reported_and_the_earlier_checkpoint_is_intact(tmp_path):
    """A limit on a file's size stands for a full disk: the same write fails in the same place."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", IDENTITY)
    checkpoints.save(1, CONTENT | {"n": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(
            CdsframeError, match=r"step 2 could not be written to .*; the checkpoint of step 1 is intact; free"
        ):
            checkpoints.save(2, {"state_dict": {"a": torch.zeros(100_000)}})
        with pytest.raises(CdsframeError, match=r"File too large.*the checkpoint of step 1 is intact"):
            checkpoints.save(2, CONTENT | {"n": "x" * 200_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoints.latest().name == "step-00000001"
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_only_one_process_trains_in_a_folder(tmp_path):
    with alone(tmp_path), pytest.raises(InputError, match="another process is training"), alone(tmp_path):
        pass


def test_random_states_are_restored_from_json():
    def drawn():
        return [random.random(), random.gauss(0, 1), float(numpy.random.rand()), *torch.rand(3).tolist()]

    random.gauss(0, 1)  # leaves a second one for the next call
    numpy.random.standard_normal()
    states = json.loads(json.dumps(random_states()))
    first = drawn()
    restore_random_states(states)
    assert drawn() == first


def test_a_value_that_json_cannot_hold_is_named(tmp_path):
    with pytest.raises(CdsframeError, match=r"cannot hold callbacks\.Mine\.set, a set"):
        Checkpoints(tmp_path, IDENTITY).save(1, {"callbacks": {"Mine": {"set": {1}}}})


# ------------------------------------------------------------------------------------------------ the trainer


class _Line(TrainingModule):
    """Fits one weight to the batches' targets; its validation losses can be given."""

    def __init__(self, total_steps, losses=(), optimizer="adamw", model=None):
        optimization = Optimization(1e-2, "cosine", 0.1, 0.0, 1.0, optimizer, 1.0)
        super().__init__(model or torch.nn.Linear(1, 1), optimization, total_steps, lambda folder: None)
        self._losses = iter(losses)

    def loss_sum(self, micro):
        return (self.model(micro) ** 2).sum()

    def on_validation_epoch_end(self):
        if (loss := next(self._losses, None)) is None:
            super().on_validation_epoch_end()
        else:
            self.metrics = {"val/loss": loss}
            self.log("val/loss", loss, logger=False, batch_size=1)


class _Numbers:
    """So many batches an epoch, whose numbers are asked for."""

    def __init__(self, length, width=1):
        self._length, self._width, self.asked = length, width, []

    def __len__(self):
        return self._length

    def epoch(self, number, first=0):
        for place in range(first, self._length):
            self.asked.append((number, place))
            generator = torch.Generator().manual_seed(100 * number + place)
            batch = torch.randn(4, self._width, generator=generator)
            yield {"micro": [batch], "labelled": 4, "tokens": 4, "padding": 0.0, "ids": [f"{number}-{place}"]}

    def __iter__(self):
        return self.epoch(0)


def fitted(
    tmp_path,
    module,
    epoch=5,
    epochs=2,
    validations=1,
    patience=99,
    checkpoint=(None, None),
    train=None,
    width=1,
    **kinds,
):
    """Trains the module; returns the fitting."""
    settings = {"max_steps": None, "limit_val_batches": None, "fast_dev_run": 0, "overfit_batches": 0, **kinds}
    system = SimpleNamespace(
        trainer=LightningTrainer(
            "cpu", "single", 1, 1, max_time=None, limit_train_batches=None, profiler=None, options={}, **settings
        ),
        callbacks=[ResumeCheckpoint(*checkpoint), EarlyStopping(patience)],
        logger=[],
        run=SimpleNamespace(folder=tmp_path),
    )
    fitting = Fitting(system, "model", epochs, validations, "32-true")
    fitting.metrics = fitting.run(module, train or _Numbers(epoch), _Numbers(2, width), IDENTITY)
    return fitting


def validated(fitting):
    return [row["step"] for row in fitting._history.rows if "val/loss" in row]


def test_training_stops_after_patience_validations_without_a_lower_loss(tmp_path):
    module = _Line(10, [3.0, 2.0, 2.0, 2.5])
    fitting = fitted(tmp_path, module, validations=5, patience=2)
    assert module.global_step == fitting.trainer.global_step == 4
    assert fitting.metrics["val/loss"] == 2.0


@pytest.mark.parametrize(
    ("epoch", "validations", "expected"),
    [(8, 5, [2, 4, 5, 7, 8]), (10, 3, [4, 7, 10]), (5, 1, [5]), (2, 4, [1, 2])],
)
def test_validations_per_epoch_the_last_at_its_end(tmp_path, epoch, validations, expected):
    assert validated(fitted(tmp_path, _Line(epoch), epoch, 1, validations)) == expected


def test_the_last_step_is_always_validated(tmp_path):
    assert validated(fitted(tmp_path, _Line(7), max_steps=7)) == [5, 7]


def test_checkpoints_by_minutes(tmp_path):
    fitted(tmp_path, _Line(10), checkpoint=(None, 1e-9))
    assert [folder.name for folder in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step-00000009",
        "step-00000010",
    ]


@pytest.mark.parametrize("hook", ["on_validation_start", "on_train_batch_start", "on_train_epoch_start"])
def test_a_signal_at_any_moment_stops_with_a_checkpoint(tmp_path, hook):
    class Asked(_Line):
        asked = 0

    def ask(module, *_):
        Asked.asked += 1
        if Asked.asked == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    setattr(Asked, hook, ask)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match=r"the checkpoint of step (2|6|10) is written"):
        fitted(tmp_path, Asked(10))
    assert len([*(tmp_path / "checkpoints").glob("step-*")]) == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_other_than_the_main_one_can_train(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(fitted(tmp_path, _Line(10)).trainer.global_step))
    thread.start()
    thread.join()
    assert found == [10]


class _KilledError(Exception):
    pass


@pytest.mark.filterwarnings("ignore:Paged optimizers:UserWarning")
@pytest.mark.parametrize("optimizer", ["adamw", "paged_adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_every_optimizer_resumes_from_a_checkpoint_bit_by_bit(tmp_path, optimizer):
    """Matrices of 4,096 weights and more have 8-bit moments, with tables that they share."""

    def trained(folder, killed_at=None):
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.Linear(64, 64))
        module = _Line(10, optimizer=optimizer, model=layers)
        if killed_at is not None:
            module.on_train_batch_start = lambda *_: _kill(module.global_step == killed_at)
        fitted(folder, module, checkpoint=(2, None), train=_Numbers(5, 128), width=128)
        return layers

    def _kill(now):
        if now:
            raise _KilledError

    whole = trained(tmp_path / "whole")
    with pytest.raises(_KilledError):
        trained(tmp_path / "killed", 7)
    again = trained(tmp_path / "killed")
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("killed", [(3,), (5, 7), (2, 4, 6, 8), (1, 5, 10), (5, 10)])
@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_run_killed_several_times_takes_each_batch_and_validation_once(tmp_path, killed, every):
    """Whatever the moments of the checkpoints: in an epoch, at its end, before and after a validation."""

    def trained(folder, stop=None, checkpoint=(every, None)):
        torch.manual_seed(0)
        module, train = _Line(15), _Numbers(5)
        if stop is not None:
            module.on_train_batch_end = lambda *_: _kill(module.global_step == stop)
        fitting = fitted(folder, module, epochs=3, validations=2, checkpoint=checkpoint, train=train)
        return fitting._history.rows, train.asked

    def _kill(now):
        if now:
            raise _KilledError

    whole, asked = trained(tmp_path / "whole", checkpoint=(None, None))
    for stop in killed:
        with pytest.raises(_KilledError):
            trained(tmp_path / "killed", stop)
    rows, last = trained(tmp_path / "killed")
    assert last == asked[-len(last) :], "it continues at the batch after the checkpoint"
    for one, other in zip(rows, whole, strict=True):
        assert {k: v for k, v in one.items() if "second" not in k and "memory" not in k} == {
            k: v for k, v in other.items() if "second" not in k and "memory" not in k
        }


def test_a_run_that_was_stopped_early_does_not_train_further_when_it_resumes(tmp_path):
    def dying(callback, trainer, *_):
        raise _KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumeCheckpoint, "on_train_end", dying)
        with pytest.raises(_KilledError):
            fitted(tmp_path, _Line(10, [1.0, 2.0]), validations=5, patience=1, checkpoint=(1, None))
    assert fitted(tmp_path, _Line(10), validations=5, patience=1, checkpoint=(1, None)).trainer.global_step == 2


def test_training_without_validation_batches(tmp_path):
    class Killed(_Line):
        def on_train_batch_start(self, *_):
            if self.global_step == 7:
                raise _KilledError

    options = {"limit_val_batches": 0, "checkpoint": (5, None)}
    with pytest.raises(_KilledError):
        fitted(tmp_path, Killed(10), **options)
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-00000006"], "5 ends an epoch"


def test_a_rehearsal_writes_nothing(tmp_path):
    fitting = fitted(tmp_path, _Line(2), checkpoint=(1, None), fast_dev_run=2)
    assert fitting.trainer.global_step == 2
    assert not fitting.writes
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


def test_one_batch_can_be_overfitted(tmp_path):
    train = _Numbers(5)
    fitted(tmp_path, _Line(30), epochs=30, overfit_batches=1, train=train)
    assert set(train.asked) == {(0, 0)}


def test_batches_resume_in_the_middle_of_an_epoch():
    examples = [type("E", (), {"__len__": lambda self, n=n: n, "id": str(n)})() for n in range(5, 28)]
    for example in examples:
        example.encoded = SimpleNamespace(labelled=1, input_ids=[0] * len(example), labels=[0] * len(example))
    batches = Batches(examples, 4, Layout(4, None, 0), seed=1, shuffle=True)
    loader = EpochLoader(batches, len(batches), same_order=False)
    first, states = [], []
    for batch in loader:
        first.append(batch["ids"])
        states.append(loader.state_dict())
    second = [batch["ids"] for batch in loader]
    assert first != second
    for passed, state in enumerate(states, start=1):
        resumed = EpochLoader(batches, len(batches), same_order=False)
        resumed.load_state_dict(state)
        if passed < len(states):  # else the epoch is complete
            assert [batch["ids"] for batch in resumed] == first[passed:]
        assert [batch["ids"] for batch in resumed] == second
    fixed = EpochLoader(batches, len(batches), same_order=True)
    assert [b["ids"] for b in fixed] == [b["ids"] for b in fixed] == first


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "loss"), (1.0, "gradient's norm")])
def test_a_loss_that_is_not_finite_stops_with_the_batchs_ids_and_changes_nothing(tmp_path, value, what):
    class Wild(_Line):
        def loss_sum(self, micro):
            self.before = self.model.weight.detach().clone()
            return super().loss_sum(micro) * (value if self.global_step == 3 else 1.0)

    module = Wild(10)
    infinite = float("inf") if value == 1.0 else 1.0
    module.model.weight.register_hook(lambda gradient: gradient * (infinite if module.global_step == 3 else 1.0))
    with pytest.raises(CdsframeError, match=rf"the {what} became .* at step 4, in the batch 0-3;"):
        fitted(tmp_path, module)
    assert torch.equal(module.model.weight, module.before)


def test_no_step_has_a_learning_rate_of_zero():
    weight = torch.nn.Parameter(torch.zeros(1))
    for schedule in ("cosine", "linear", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"):
        recipe = Optimization(0.1, schedule, 0.25, 0.0, 1.0, "adamw", 16.0)
        optimizer = recipe.optimizer({"lora_A": weight, "lora_B": weight.detach().clone().requires_grad_()}, cuda=False)
        scheduler = recipe.scheduler(optimizer, 12)
        rates = []
        for _ in range(12):
            rates.append(scheduler.get_last_lr())
            optimizer.step()
            scheduler.step()
        assert all(a > 0 for a, _ in rates), schedule
        assert max(a for a, _ in rates) == pytest.approx(0.1), schedule
        assert all(b == pytest.approx(16 * a) for a, b in rates)
    assert rates[0][0] == pytest.approx(0.1 / 3)
