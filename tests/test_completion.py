"""When a training has ended: its result is where people name it, and only then does the run say so."""

import json

import pytest

from cdsframe.artifacts.run import Run
from cdsframe.errors import InputError
from cdsframe.training import sft
from cdsframe.training.completion import ended
from tests.entry_points import exit_code

SMALL = [
    "model=tiny", "retriever=none", "embedder=none", "quantization=none", "training.train_limit=4",
    "training.validation_limit=2", "training.max_epochs=1", "trainer=cpu", "callbacks.progress=null", "logger=none",
    "contamination=none", "name=demo",
]  # fmt: skip


def test_a_run_that_was_stopped_while_it_published_has_not_ended(tmp_path):
    def stopped(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft, "publish", stopped)
        assert exit_code(tmp_path, *SMALL) == 130
    (run,) = (tmp_path / "outputs/runs/train").iterdir()
    assert not (run / "metrics.json").exists()
    assert exit_code(tmp_path, *SMALL, f"resume={run}") == 0
    assert (tmp_path / "outputs/adapters/demo/manifest.json").is_file()
    assert (run / "metrics.json").is_file()


def resumed(folder):
    return Run(folder, "train", 1, "", {}, "group", resumed=True)


def test_the_metrics_are_the_mark_of_the_end_and_what_is_left_beside_them_goes(tmp_path):
    run = resumed(tmp_path)
    assert ended(run, "adapter") is None
    (tmp_path / "checkpoints").mkdir()
    run.finish({"val/loss": 0.5})
    assert ended(run, "adapter") == 0.5
    assert not (tmp_path / "checkpoints").exists(), "the run was killed before it removed them"
    (tmp_path / "manifest.json").unlink()
    assert ended(run, "adapter") is None


def test_metrics_without_a_loss_are_told(tmp_path):
    run = resumed(tmp_path)
    run.finish({})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {}
    with pytest.raises(InputError, match=r"metrics.json has no val/loss; remove this file and resume again"):
        ended(run, "adapter")


def test_an_occupied_name_is_refused_before_the_model_is_loaded(tmp_path, capsys):
    (tmp_path / "outputs/adapters/demo").mkdir(parents=True)
    (tmp_path / "outputs/adapters/demo/mine.txt").touch()
    assert exit_code(tmp_path, *SMALL) == 1
    told = capsys.readouterr()
    assert "outputs/adapters/demo exists and was not made by train.py; move it away" in told.err
    assert "training and" not in told.out


def test_outputs_where_a_file_is_are_one_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert exit_code(tmp_path, *SMALL, "paths.adapters=file") == 1
    assert "a folder was expected and a file found: file" in capsys.readouterr().err
    assert exit_code(tmp_path, *SMALL, "paths.outputs=/proc/x") == 1
    assert "there is no such file or folder, and it cannot be created: /proc/x" in capsys.readouterr().err
