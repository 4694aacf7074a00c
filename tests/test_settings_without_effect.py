"""What a user sets has effect or is reported: configuration folders, Hydra's settings, W&B's variables."""

import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cdsframe.artifacts.run import Run
from cdsframe.cli.shadow import shadowed
from cdsframe.logger import Wandb, enabled, missing_key, shared_run_problems
from tests.entry_points import exit_code
from tests.test_sft import SMALL

ROOT = Path(__file__).parent.parent
BUILT_IN = (ROOT / "configs/lora/all_linear.yaml").read_text(encoding="utf-8")
WANDB = OmegaConf.create(
    {"wandb": {"_target_": "cdsframe.logger.Wandb"}, "csv": {"_target_": "cdsframe.logger.CsvLogger"}}
)


def folder_with(path: Path, option: str, text: str) -> Path:
    (path / option).parent.mkdir(parents=True, exist_ok=True)
    (path / option).write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("how", ["--config-dir={}", "-cd {}", "hydra.searchpath=[file://{}]", "hydra.searchpath=[{}]"])
@pytest.mark.parametrize("option", ["lora/all_linear.yaml", "train.yaml", "hydra/job_logging/default.yaml"])
def test_an_option_with_the_name_of_a_built_in_one_is_refused_by_name(tmp_path, capsys, how, option):
    mine = folder_with(tmp_path / "mine", option, "r: 3\n")
    assert exit_code(tmp_path / "run", *how.format(mine).split(" "), "--cfg", "job") == 2
    told = capsys.readouterr().err
    assert f"the configuration is refused: {option} in '{mine}' has the name of a file in" in told
    assert "rename your file to" in told


def test_an_option_with_a_name_of_its_own_is_taken_and_a_copy_hides_nothing(tmp_path, capsys):
    mine = folder_with(tmp_path / "mine", "lora/mine.yaml", BUILT_IN.replace("r: 16", "r: 3"))
    folder_with(mine, "lora/all_linear.yaml", BUILT_IN)
    assert exit_code(tmp_path / "run", "--config-dir", str(mine), "lora=mine", "--cfg", "job") == 0
    assert "r: 3\n" in capsys.readouterr().out


def test_a_second_configuration_folder_is_refused(tmp_path, capsys):
    folders = [folder_with(tmp_path / name, f"lora/{name}.yaml", BUILT_IN) for name in ("one", "two")]
    given = [part for folder in folders for part in ("--config-dir", str(folder))]
    assert exit_code(tmp_path / "run", *given, "--cfg", "job") == 2
    assert "--config-dir is given more than once" in capsys.readouterr().err


def test_an_interpolated_search_path_is_resolved_before_its_files_are_compared(tmp_path, capsys, monkeypatch):
    mine = folder_with(tmp_path / "mine", "lora/all_linear.yaml", "r: 3\n")
    monkeypatch.setenv("MINE", str(mine))
    assert exit_code(tmp_path / "run", "hydra.searchpath=[file://${oc.env:MINE}]", "--cfg", "job") == 2
    told = capsys.readouterr().err
    assert f"lora/all_linear.yaml in '{mine}' has the name of a file in" in told
    assert "hydra.searchpath has ${…} on the command line, where Hydra does not resolve it" in told
    first = folder_with(tmp_path / "primary", "mine.yaml", "hydra:\n  searchpath: ['file://${oc.env:MINE}']\n")
    assert exit_code(tmp_path / "run", "--config-dir", str(first), "--config-name=mine", "--cfg", "job") == 2
    assert f"lora/all_linear.yaml in '{mine}' has the name of a file in" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["hydra.searchpath=[${oc.env:NOPE}/x]", "hydra.searchpath=[file://${oc.env:PATH}]"])
def test_an_interpolation_that_hydra_leaves_as_it_is_is_refused(tmp_path, capsys, monkeypatch, given):
    monkeypatch.delenv("NOPE", raising=False)
    assert exit_code(tmp_path / "run", given, "--cfg", "job") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "refused: hydra.searchpath has ${…} on the command line" in told


UNUSABLE = {
    "unset variable": ("hydra:\n  searchpath: ['file://${oc.env:NOPE}/x']\n", "'NOPE' not found", 1),
    "not closed": ("seed: [1\nname: x\n", "own.yaml, line 2, column 5: this is not valid YAML (expected ',' or ']'", 2),
    "a character": ("seed: \x01\n", "own.yaml: this is not valid YAML (special characters are not allowed)", 2),
    "a key twice": ("seed: 1\nseed: 2\n", "own.yaml, line 2, column 1: this is not valid YAML (found duplicate key", 2),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_primary_that_cannot_be_used_is_one_sentence(tmp_path, capsys, monkeypatch, fault):
    text, words, code = UNUSABLE[fault]
    monkeypatch.delenv("NOPE", raising=False)
    mine = folder_with(tmp_path / "mine", "own.yaml", text)
    assert exit_code(tmp_path / "run", "--config-dir", str(mine), "--config-name", "own", "--cfg", "job") == code
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert "KeyError" not in told


def test_an_option_that_is_not_valid_yaml_is_one_sentence(tmp_path, capsys):
    mine = folder_with(tmp_path / "mine", "lora/mine.yaml", "r: [1\n")
    assert exit_code(tmp_path / "run", "--config-dir", str(mine), "lora=mine", "--cfg", "job") == 2
    assert "lora/mine.yaml, line 2, column 1: this is not valid YAML" in capsys.readouterr().err


def test_a_configuration_file_that_is_not_utf8_is_one_sentence(tmp_path, capsys):
    mine = folder_with(tmp_path / "mine", "lora/mine.yaml", "r: 1\n")
    (mine / "lora/mine.yaml").write_bytes(b"r: 1  # \xff\n")
    assert exit_code(tmp_path / "before", "lora.r=-1") == 2  # composed before, in the same process
    assert exit_code(tmp_path / "run", "--config-dir", str(mine), "lora=mine", "--cfg", "job") == 2
    assert "a file of it is not UTF-8 text" in capsys.readouterr().err


def test_a_configuration_file_without_permission_is_one_sentence(tmp_path, capsys, monkeypatch):
    def read(path):
        raise PermissionError(13, "Permission denied", str(path))

    mine = folder_with(tmp_path / "mine", "lora/all_linear.yaml", BUILT_IN)
    monkeypatch.setattr(Path, "read_bytes", read)
    assert exit_code(tmp_path / "run", "--config-dir", str(mine), "--cfg", "job") == 2
    told = capsys.readouterr().err
    assert f"'{mine}/lora/all_linear.yaml' cannot be read (Permission denied); make it readable" in told


def test_many_hidden_files_are_counted(tmp_path):
    for number in range(9):
        folder_with(tmp_path / "first", f"lora/{number}.yaml", "r: 1\n")
        folder_with(tmp_path / "second", f"lora/{number}.yaml", "r: 2\n")
    assert shadowed([tmp_path / "first", tmp_path / "second"])[-1] == "and 4 more files"


def test_chdir_gets_the_true_reason(tmp_path, capsys):
    assert exit_code(tmp_path / "run", "hydra.job.chdir=true", "model=tiny") == 2
    assert "hydra.job.chdir=true would resolve relative paths such as paths.outputs" in capsys.readouterr().err


def test_jobs_that_would_share_a_folder_are_refused(tmp_path, capsys):
    assert exit_code(tmp_path / "run", "-m", "hydra.sweep.subdir=all", "lora.r=2,4", "model=tiny") == 2
    assert (
        "hydra.sweep.subdir=all: resume and the leader board need the jobs' numbered folders" in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_FORK_FROM"])
def test_the_environment_cannot_make_the_jobs_of_a_multirun_one_run(name):
    [problem] = shared_run_problems(WANDB, {name: "same", "HOME": "/"})
    assert f"unset {name}" in problem
    assert (
        shared_run_problems(OmegaConf.create({"csv": {"_target_": "cdsframe.logger.CsvLogger"}}), {name: "same"}) == []
    )
    assert shared_run_problems(WANDB, {name: ""}) == []


def test_a_multirun_with_a_run_id_in_the_environment_is_refused_before_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_RUN_ID", "same123")
    assert exit_code(tmp_path / "run", "-m", "lora.r=2,4", "model=tiny") == 2
    assert "WANDB_RUN_ID: each job of a multirun needs a separate W&B run" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.wandb"))


def test_a_logger_that_is_null_is_switched_off(tmp_path):
    off = OmegaConf.create({"csv": None})
    assert enabled(off) == {}
    assert enabled(None) == {}
    assert shared_run_problems(off, {"WANDB_RUN_ID": "same"}) == []
    assert exit_code(tmp_path, *SMALL, "quantization=none", "trainer.max_steps=1", "logger=csv", "logger.csv=null") == 0
    assert not list(tmp_path.rglob("csv"))


@pytest.mark.parametrize("given", ["logger.csv=5", "+logger.mine={project:x}"])
def test_a_logger_without_a_target_is_refused(tmp_path, capsys, given):
    assert exit_code(tmp_path, "model=tiny", "logger=csv", given) == 2
    assert " has no _target_; choose logger=" in capsys.readouterr().err


def test_a_missing_key_is_reported_before_work(tmp_path, monkeypatch, capsys):
    for name in ("WANDB_API_KEY", "NETRC", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert exit_code(tmp_path / "run", "logger.wandb.mode=online", "model=tiny") == 2
    assert "logger.wandb.mode=online needs a key" in capsys.readouterr().err
    assert exit_code(tmp_path / "run", "logger.wandb.mode=online", "logger.wandb.key_env=MINE", "model=tiny") == 2
    assert "the variable MINE (logger.wandb.key_env) is not set" in capsys.readouterr().err


def test_a_key_is_found_where_wandb_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert missing_key("offline", "WANDB_API_KEY", {}) is None
    assert missing_key("online", "MINE", {"MINE": "key"}) is None
    assert missing_key("online", "WANDB_API_KEY", {}) is not None
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    assert missing_key("online", "WANDB_API_KEY", {}) is None
    assert missing_key("online", "WANDB_API_KEY", {"WANDB_BASE_URL": "https://wandb.hospital"}) is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_variables_that_have_no_effect_are_reported_and_a_wrong_value_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_RESUME", "nonsense")
    logger = Wandb(Run(tmp_path, "train", 1, None, {}, "group"), "demo", "cdsframe", "offline", "WANDB_API_KEY")
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match="WANDB_RESUME") as raised:
        logger.open()
    assert type(raised.value).__name__ == "CdsframeError"
    assert "WANDB_PROJECT has no effect: set logger.wandb.project instead" in caplog.text
