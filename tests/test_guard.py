"""A configuration file runs no code but components, Hydra's plugins and cdsframe's own callback."""

import pickle
import sys

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import ConfigLoaderImpl as used_loader
from omegaconf import OmegaConf

import cdsframe
from cdsframe.cli.multirun import _hook
from cdsframe.config.guard import GuardedLoader, guarded, hydra_problems, may_be_imported, summaries
from cdsframe.errors import ConfigError
from tests.entry_points import exit_code

RUNS = {
    "a callback": "callbacks: {x: {_target_: pathlib.Path.touch, self: TOUCHED}}",
    "below a callback": """callbacks:
    x: {_target_: cdsframe.cli.multirun.AfterEachJob, at_end: null, function: {_target_: ward_code.run}}""",
    "a list of callbacks": "callbacks: {x: [{_target_: ward_code.run}]}",
    "an interpolated callback": "callbacks: {x: {_target_: '${name}'}}",
    "a callback's function": """callbacks:
    x: {_target_: cdsframe.cli.multirun.AfterEachJob, at_end: null, function: cdsframe.training.completion.shutil}""",
    "a log handler": "job_logging: {handlers: {x: {class: logging.os.system, command: touch TOUCHED}}}",
    "a factory of handlers": "job_logging: {handlers: {x: {(): ward_code.run}}}",
    "a log handler of Hydra's": "hydra_logging: {formatters: {x: {(): ward_code.run}}}",
    "a value from a module": "job_logging: {handlers: {x: {stream: 'ext://ward_code.x'}}}",
    "a value that the job resolves": "job_logging: {root: {handlers: ['${hydra.job.id}']}}",
    "the environment": "job: {env_set: {CDSFRAME_COMPONENTS: ward_code}}",
}


def folder_with(folder, option, text):
    file = folder / option
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def ward_code(tmp_path, monkeypatch):
    """An undeclared module on the path that leaves a file when it is imported."""
    touched = tmp_path / "TOUCHED"
    folder_with(tmp_path / "path", "ward_code.py", f"open({str(touched)!r}, 'w')\ndef run(**_): pass\nx = None\n")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    yield touched
    sys.modules.pop("ward_code", None)


@pytest.mark.parametrize("where", RUNS)
def test_code_in_an_experiment_is_refused_before_it_runs(where, tmp_path, ward_code, capsys):
    text = f"# @package _global_\nname: ward_code.run\nhydra:\n  {RUNS[where].replace('TOUCHED', str(ward_code))}\n"
    mine = folder_with(tmp_path / "mine", "experiment/mine.yaml", text)
    arguments = ["--config-dir", str(mine), "experiment=mine", "model=tiny"]
    for given in (arguments, ["-m", "--config-dir", str(mine), "experiment=mine,mine"]):
        assert exit_code(tmp_path / "run", *given, "hydra.run.dir=out", "hydra.sweep.dir=out") == 2
        told = capsys.readouterr().err
        assert told.startswith("train: the configuration is refused: hydra.")
        assert told.count("\n") == 1
        assert not ward_code.exists()
    with pytest.raises(ConfigError, match=r"^hydra\."):
        cdsframe.compose("train", ["experiment=mine"], config_dir=mine)
    assert not ward_code.exists()


@pytest.mark.parametrize("entry", ["pkg://ward_code", "pkg://ward_code.conf", "pkg://ward_code/conf"])
def test_a_search_path_does_not_import_a_package(entry, tmp_path, ward_code, capsys):
    mine = folder_with(tmp_path / "mine", "own.yaml", f"defaults: [train]\nhydra:\n  searchpath: ['{entry}']\n")
    own = ["--config-dir", str(mine), "--config-name=own"]
    for given in ([f"hydra.searchpath=['{entry}']"], own, [f"--config-path={entry}"]):
        assert exit_code(tmp_path / "run", *given, "--cfg", "job") == 2
        assert "would import a package that is not declared to cdsframe" in capsys.readouterr().err
        assert not ward_code.exists()
    with pytest.raises(ConfigError, match="would import a package"):
        cdsframe.compose("train", [f"hydra.searchpath=['{entry}']"])
    assert not ward_code.exists()


def test_a_pickled_run_is_not_started_again(tmp_path, capsys):
    assert exit_code(tmp_path / "run", "--experimental-rerun=config.pickle") == 2
    assert "would unpickle a file" in capsys.readouterr().err


def test_packages_that_the_user_declares_may_be_on_the_search_path(monkeypatch):
    assert not may_be_imported("pkg://my_hospital.configs")
    monkeypatch.setenv("CDSFRAME_COMPONENTS", "my_hospital")
    assert may_be_imported("pkg://my_hospital.configs")
    assert may_be_imported("file://anywhere")
    assert may_be_imported("pkg://hydra.conf")


def test_what_hydra_and_its_plugins_need_is_allowed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    cfg = OmegaConf.create({
        "hydra": {
            "callbacks": {
                "board": {
                    "_target_": "cdsframe.config.AfterEachJob",
                    "function": "cdsframe.evaluation.compare.summarise",
                    "at_end": None,
                }
            },
            "sweeper": {
                "_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
                "sampler": {"_target_": "optuna.samplers.TPESampler"},
                "storage": {"_target_": "optuna.storages.RDBStorage", "url": "sqlite:///x.db"},
                "custom_search_space": None,
            },
            "launcher": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
            "job_logging": {
                "formatters": {"plain": {"format": "%(message)s"}, "colour": {"()": "colorlog.ColoredFormatter"}},
                "handlers": {
                    "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
                    "file": {"class": "logging.FileHandler", "filename": "${hydra.runtime.output_dir}/a.log"},
                    "all": {"class": "logging.handlers.RotatingFileHandler", "filename": "logs/${hydra.job.num}.log"},
                },
            },
            "runtime": {"output_dir": "???"},
            "job": {"num": "???", "env_copy": ["OMP_NUM_THREADS"], "env_set": {"OMP_NUM_THREADS": "4"}},
        }
    })  # fmt: skip
    assert hydra_problems(cfg) == []
    cfg.hydra.sweeper.sampler._target_ = "optuna.samplers.os.system"
    cfg.hydra.sweeper.custom_search_space = "ward_code.run"
    cfg.hydra.launcher._target_ = "ward_code.run"
    assert [problem.split(":")[0] for problem in hydra_problems(cfg)] == [
        "hydra.sweeper.sampler._target_",
        "hydra.sweeper.custom_search_space would call ward_code.run; remove it, and give hydra.sweeper.params",
        "hydra.launcher._target_",
    ]


def test_a_multirun_is_summarised_by_built_in_functions_only():
    assert "cdsframe.training.leaderboard.summarise" in summaries()
    with pytest.raises(ConfigError, match="does not summarise multiruns"):
        _hook("cdsframe.training.leaderboard.write_text")


def test_the_loader_is_put_back_and_can_be_sent_to_other_processes():
    import hydra._internal.hydra as internals
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl

    with guarded():
        assert internals.ConfigLoaderImpl is GuardedLoader
    assert internals.ConfigLoaderImpl is used_loader is ConfigLoaderImpl
    assert isinstance(pickle.loads(pickle.dumps(GuardedLoader(ConfigSearchPathImpl()))), GuardedLoader)
