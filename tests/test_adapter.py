"""An adapter's folder: what is refused before a model is loaded, and in which words."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from cdsframe.artifacts.adapter import publish, require_match, require_publishable
from cdsframe.artifacts.run import read_manifest
from cdsframe.errors import AdapterMismatchError, InputError

WHOLE = {"format_version": 1, "choices": {"model": "tiny"}, "identity": {"model": {"name": "a"}}}


class Component:
    def __init__(self, **identity):
        self.identity = identity


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(WHOLE))
    (tmp_path / "adapter_model.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "model.safetensors"])
def test_a_whole_folder_is_taken(folder, weights):
    (folder / "adapter_model.safetensors").rename(folder / weights)
    assert require_match(str(folder), model=Component(name="a")) == WHOLE
    with pytest.raises(AdapterMismatchError, match=r"another model \(name: 'a', not 'b'\); add model=tiny"):
        require_match(str(folder), model=Component(name="b"))


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        ('{"format_version": 1}', "manifest.json has no identity, choices"),
        ('{"format_version": 1, "choices": {}, "identity": 3}', "manifest.json has no identity"),
        ('{"format_version": 1, "ch', "manifest.json is not JSON"),
        ("\ud83d", "manifest.json is not UTF-8 text"),
    ],
)
def test_a_damaged_manifest_is_refused(folder, manifest, fault):
    (folder / "manifest.json").write_bytes(manifest.encode("utf-8", "surrogatepass"))
    with pytest.raises(AdapterMismatchError, match=f"^adapter: {folder} is damaged: {fault}.*; train it again$"):
        require_match(str(folder), model=Component(name="a"))


def test_a_folder_without_weights_or_manifest_is_refused(folder):
    (folder / "adapter_model.safetensors").unlink()
    (folder / "other.safetensors").touch()
    with pytest.raises(AdapterMismatchError, match=r"is damaged: it has no adapter_model\.safetensors; train it again"):
        require_match(str(folder), model=Component(name="a"))
    (folder / "manifest.json").unlink()
    with pytest.raises(AdapterMismatchError, match=r"was not made by train\.py \(it has no manifest\.json\)"):
        require_match(str(folder), model=Component(name="a"))


def test_another_format_is_refused(folder):
    (folder / "manifest.json").write_text(json.dumps({**WHOLE, "format_version": 99}))
    with pytest.raises(AdapterMismatchError, match="has format version 99, this cdsframe reads 1; train it again, or"):
        require_match(str(folder), model=Component(name="a"))


def test_a_runs_manifest_must_hold_its_choices(folder):
    assert read_manifest(folder, "run") == WHOLE
    (folder / "manifest.json").write_text('{"format_version": 1}')
    with pytest.raises(InputError, match=r"^run: .* is damaged: manifest\.json has no choices; make it again$"):
        read_manifest(folder, "run")
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"^run: .* has no manifest\.json; make it again$"):
        read_manifest(folder, "run")


def test_what_would_stop_publishing_is_found_beforehand(tmp_path):
    require_publishable(tmp_path / "new" / "demo")
    assert not (tmp_path / "new").exists(), "nothing is left by looking"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "manifest.json").touch()
    require_publishable(tmp_path / "demo")
    for occupied in ("other", "file"):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=f"{occupied} exists and was not made by train.py; move it away"):
            require_publishable(tmp_path / occupied)
    with pytest.raises(FileExistsError):
        require_publishable(tmp_path / "file" / "demo")
    with pytest.raises(OSError, match="File name too long"):
        require_publishable(tmp_path / ("n" * 245))


def test_processes_that_publish_one_name_do_so_one_after_the_other(folder, tmp_path_factory):
    """The last one stands, whole, and nothing is left beside it."""
    target = tmp_path_factory.mktemp("published") / "adapter"
    with ProcessPoolExecutor(3, mp_context=get_context("forkserver")) as pool:
        for done in [pool.submit(publish, folder, target) for _ in range(60)]:
            done.result()
    assert sorted(file.name for file in target.iterdir()) == ["adapter_model.safetensors", "manifest.json"]
    assert [place.name for place in target.parent.iterdir() if ".partial" in place.name] == []


@pytest.mark.parametrize(
    ("trained", "here", "fix"),
    [
        ({"bits": 16}, {"bits": 4, "double_quant": True}, "add model=tiny"),
        (
            {"bits": 4, "double_quant": False},
            {"bits": 4, "double_quant": True},
            "add model=tiny model.double_quant=false",
        ),
        ({"name": "a", "new_tokens": ["eGFR"]}, {"name": "a"}, "add model=tiny model.new_tokens=[eGFR]"),
        ({"name": "a", "new_tokens": ["[1]"]}, {"name": "a"}, """add model=tiny 'model.new_tokens=["[1]"]'"""),
        ({"name": "a"}, {"name": "a", "new_tokens": ["eGFR"]}, "add model=tiny model.new_tokens=[]"),
        ({"digest": "1"}, {"digest": "2"}, "add model=tiny model.name=FOLDER, the folder of its base"),
        ({"name": "a"}, {"digest": "2"}, "add model=tiny without model.name=FOLDER"),
    ],
)
def test_the_overrides_that_fix_a_difference_are_reported(folder, trained, here, fix):
    (folder / "manifest.json").write_text(json.dumps({**WHOLE, "identity": {"model": trained}}))
    with pytest.raises(AdapterMismatchError) as refused:
        require_match(str(folder), model=Component(**here))
    assert str(refused.value).endswith(fix)
