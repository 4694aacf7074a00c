"""Multiruns: a failed or killed job is marked and leaves the others, what is missing is done, the board tells it."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401 (with it loaded the jobs share this process: see run_job)
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from cdsframe.artifacts.packaged import weights_digest
from cdsframe.cli import multirun
from cdsframe.cli.multirun import AfterEachJob
from cdsframe.cli.resume import interrupted_run
from cdsframe.cli.sweep import folder_of_job
from cdsframe.config import check
from cdsframe.errors import ConfigError, InputError
from cdsframe.training import leaderboard
from cdsframe.training.leaderboard import publish_best, summarise
from tests.children import child, patience, run_child
from tests.entry_points import exit_code

ROOT = Path(__file__).parent.parent
SWEEPS = sorted((ROOT / "configs" / "sweep").glob("*.yaml"))
SMALL = [
    "model=tiny", "retriever=none", "embedder=none", "quantization=none", "training.train_limit=8",
    "training.validation_limit=4", "training.max_epochs=1", "trainer=cpu", "callbacks.progress=null", "logger=none",
    "name=best", "contamination=none",
]  # fmt: skip


def board(sweep):
    with (sweep / "leaderboard.csv").open(encoding="utf-8") as rows:
        return list(csv.DictReader(rows))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_a_sweep_composes_and_each_of_its_first_jobs_checks(path):
    params = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["sweeper"]["params"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", [f"sweep={path.stem}"], return_hydra_config=True)
        assert cfg.hydra.mode.name == "MULTIRUN"
        assert dict(cfg.hydra.sweeper.params) == params
        plain = compose(
            "train", [f"{key}={str(value).split(',')[0]}" for key, value in params.items() if "(" not in str(value)]
        )
        check(plain)


RATES = "optimization.learning_rate=1e-4,3e-4,1e-3,1e30,3e-3,1e-2"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder with a multirun of six jobs, of which the fourth fails: its loss is not finite. And what was printed."""
    folder = tmp_path_factory.mktemp("swept")
    code = exit_code(folder, "-m", *SMALL, RATES, "hydra.sweep.dir=sweep")
    assert code == 1
    return folder


def test_of_six_jobs_one_fails_and_five_stand_on_the_board(swept):
    rows = board(swept / "sweep")
    assert [row["status"] for row in rows] == ["finished"] * 5 + ["failed"]
    losses = [float(row["val/loss"]) for row in rows[:5]]
    assert losses == sorted(losses)
    assert (rows[5]["job"], rows[5]["optimization.learning_rate"]) == ("3", "1e+30")
    assert "lower optimization.learning_rate" in rows[5]["reason"]
    told = summarise(swept / "sweep")
    assert "5 of 6 jobs finished" in told
    assert "job 3: the " in told
    picture = (swept / "sweep" / "leaderboard.svg").read_text(encoding="utf-8")
    assert picture.count("optimization.learning_rate=") == 6
    assert "failed" in picture
    best = swept / "sweep" / rows[0]["job"] / "adapter"
    assert weights_digest(best) == weights_digest(swept / "outputs" / "adapters" / "best")


def test_a_multirun_that_is_gone_on_with_does_what_is_missing(swept, tmp_path):
    """As after a kill: a job without an outcome and one that never began; and one that was not asked for before."""
    sweep = tmp_path / "sweep"
    shutil.copytree(swept / "sweep", sweep)
    for file in ("outcome.json", "metrics.json"):
        (sweep / "1" / file).unlink()
    shutil.rmtree(sweep / "5")
    kept = {n: (sweep / n / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns for n in "024"}
    assert next(row for row in board(sweep) if row["job"] == "1")
    summarise(sweep)
    assert next(row for row in board(sweep) if row["job"] == "1")["status"] == "unfinished"
    more = RATES.replace("1e30", "2e-3")  # other values: each job is known by its configuration, not by its number
    assert exit_code(tmp_path, "-m", *SMALL, more, "resume=sweep") == 0
    assert kept == {n: (sweep / n / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns for n in kept}
    rows = {row["optimization.learning_rate"]: row for row in board(sweep)}
    assert [row["status"] for row in rows.values()] == ["finished"] * 6 + ["failed"]
    before = {row["optimization.learning_rate"]: row for row in board(swept / "sweep")}
    for rate in ("0.0003", "0.01"):
        assert rows[rate]["val/loss"] == before[rate]["val/loss"]


def test_what_is_no_multirun_is_not_gone_on_with_as_one(swept, tmp_path, capsys):
    assert exit_code(tmp_path, "-m", *SMALL, RATES, f"resume={swept}/sweep/0") == 2
    assert "is the folder of a single run, and -m starts a multirun" in capsys.readouterr().err
    assert exit_code(tmp_path, "-m", *SMALL, RATES, "resume=nowhere") == 2
    assert not (tmp_path / "nowhere").exists()


def test_optuna_searches_and_goes_on_to_the_same_end(tmp_path):
    search = [*SMALL, "sweep=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.n_startup_trials=2"]
    search.append("training.train_limit=4")
    assert exit_code(tmp_path, *search, "hydra.sweep.dir=sweep") == 0
    whole = board(tmp_path / "sweep")
    assert len(whole) == 4
    shutil.rmtree(tmp_path / "sweep" / "3")
    shutil.rmtree(tmp_path / "sweep" / "2" / "adapter")
    (tmp_path / "sweep" / "2" / "outcome.json").unlink()
    (tmp_path / "sweep" / "2" / "metrics.json").unlink()
    assert exit_code(tmp_path, *search, "resume=sweep") == 0
    columns = ("job", "optimization.learning_rate", "lora.r", "val/loss", "status")
    assert [[row[c] for c in columns] for row in board(tmp_path / "sweep")] == [
        [row[c] for c in columns] for row in whole
    ]


def test_a_job_finds_its_folder_by_its_configuration(tmp_path):
    for number, rank in (("0", 2), ("1", 4)):
        (tmp_path / number).mkdir()
        (tmp_path / number / "config.yaml").write_text(f"lora: {{r: {rank}}}\nresume: null\n", encoding="utf-8")
    (tmp_path / "2").mkdir()
    assert folder_of_job(tmp_path, tmp_path / "0", {"lora": {"r": 4}, "resume": "x"}) == (tmp_path / "1", True)
    assert folder_of_job(tmp_path, tmp_path / "2", {"lora": {"r": 8}}) == (tmp_path / "2", False)
    assert folder_of_job(tmp_path, tmp_path / "1", {"lora": {"r": 8}}) == (tmp_path / "3", False)


OWN_PROCESS = """
import os, signal, sys
from pathlib import Path
from cdsframe.cli.sweep import run_job
from cdsframe.errors import ConfigError, CdsframeError
from cdsframe.artifacts.run import Run

def killed(): os.kill(os.getpid(), signal.SIGKILL)
def refused(): raise ConfigError(["no", "never"])
def wrong(): raise KeyError(1)
def fine(): return 0.5
def waits():
    print("waiting", flush=True)
    signal.pause()

def job(number, work):
    run = Run(Path(sys.argv[1]) / str(number), "train", 1, "", {}, "g", None, Path(sys.argv[1]))
    try:
        return run_job(run, work, own_process=True)
    except (CdsframeError, KeyError) as error:
        return repr(error)

for number, work in enumerate(globals()[name] for name in sys.argv[2].split(",")):
    print(job(number, work), flush=True)
"""


def test_a_job_that_is_killed_leaves_the_others(tmp_path):
    command = [sys.executable, "-c", OWN_PROCESS, str(tmp_path), "killed,refused,wrong,fine"]
    done = run_child(command, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert "killed by SIGKILL (out of memory?)" in lines[0]
    assert lines[1].startswith("ConfigError")
    assert lines[-2:] == ["KeyError(1)", "0.5"]
    outcomes = [json.loads((tmp_path / str(n) / "outcome.json").read_text(encoding="utf-8")) for n in range(4)]
    assert [outcome["status"] for outcome in outcomes] == ["failed", "failed", "failed", "finished"]
    assert outcomes[1]["reason"] == "no\nnever"
    assert outcomes[2]["reason"] == "a defect of the program; the job's log has the traceback"


def test_a_signal_reaches_the_job_and_ends_the_multirun(tmp_path):
    command = [sys.executable, "-c", OWN_PROCESS, str(tmp_path), "waits,fine"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=patience(60))
    assert "0.5" not in out
    assert "Stopped" in err
    assert not (tmp_path / "0" / "outcome.json").exists(), "unfinished, not failed"


def test_a_summary_that_fails_is_reported_in_one_line(monkeypatch, tmp_path, capsys):
    def broken(_):
        raise InputError("the board cannot be written")

    entry = sys.modules["cdsframe.cli.entry"]  # the package's attribute of that name is the function
    monkeypatch.setattr(leaderboard, "summarise", broken)
    monkeypatch.setattr(multirun, "_summaries", {tmp_path: ("cdsframe.training.leaderboard.summarise", None, None)})
    with pytest.raises(SystemExit) as stopped:
        entry._print_summaries("train")
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "train: failed: the board cannot be written\n"


def test_the_best_goes_where_the_configuration_says_when_the_multirun_has_ended(monkeypatch, tmp_path):
    """Where `paths.outputs` comes from the environment, too: config.yaml then does not have it."""
    monkeypatch.setenv("CDSFRAME_TEST_OUT", str(tmp_path / "out"))
    small = [*SMALL, "training.train_limit=4", "trainer.max_steps=1", "hydra.sweep.dir=sweep"]
    published = tmp_path / "out" / "adapters" / "best"
    seen = []
    monkeypatch.setattr(AfterEachJob, "on_job_start", lambda *_, **__: seen.append(published.exists()), raising=False)
    where = "paths.outputs=${oc.env:CDSFRAME_TEST_OUT}"
    assert exit_code(tmp_path, "-m", *small, "lora.r=2,4", where) == 0
    assert (published / "manifest.json").is_file()
    assert seen == [False, False]
    assert not [path for path in tmp_path.iterdir() if "$" in path.name]


def test_a_folder_that_is_no_multirun_is_refused_before_hydra_writes_into_it(tmp_path, capsys):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "page.md").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    for overrides, folder, told in (
        (["-m", "lora.r=4,8"], "corpus", "corpus is not the folder of a multirun"),
        (["sweep=rank"], "corpus", "corpus is not the folder of a multirun"),
        (
            ["--multirun", "lora.r=4,8"],
            "run",
            "run is the folder of a single run, and -m starts a multirun; leave -m out",
        ),
        ([], "corpus", "corpus is not the folder of a run"),
    ):
        before = sorted(tmp_path.rglob("*"))
        assert exit_code(tmp_path, *overrides, *SMALL, f"resume={folder}") == 2
        assert told in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("damage", [b"a: [1", b"\xff\xfe\x00", b"- 1\n"])
def test_a_damaged_configuration_is_told(damage, tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "config.yaml").write_bytes(damage)
    with pytest.raises(ConfigError, match=r"0/config.yaml is damaged"):
        folder_of_job(tmp_path, tmp_path / "1", {"a": 1})
    with pytest.raises(ConfigError, match=r"0/config.yaml is damaged"):
        interrupted_run(OmegaConf.create({"resume": str(tmp_path / "0")}), {"a": 1})
    assert "job 0: its config.yaml is damaged" in summarise(tmp_path)


def job_folder(sweep, number, outcome, metrics=None, manifest=None, **settings):
    folder = sweep / str(number)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name, value in (("outcome", outcome), ("metrics", metrics), ("manifest", manifest)):
        if value is not None:
            (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")


def test_a_job_has_finished_where_its_outcome_and_its_manifest_say_so(tmp_path):
    metrics, manifest = {"val/loss": 1.0}, {"validation": "x"}
    job_folder(tmp_path, 0, {"status": "failed", "reason": "it differs"}, metrics, manifest, r=1)
    job_folder(tmp_path, 1, {"status": "finished", "value": 1.0}, metrics, None, r=2)
    job_folder(tmp_path, 2, {"status": "finished", "value": 1.0}, metrics, manifest, r=3)
    summarise(tmp_path)
    assert {row["job"]: row["status"] for row in board(tmp_path)} == {"2": "finished", "0": "failed", "1": "unfinished"}
    assert publish_best(tmp_path) == "nothing is published"


def test_jobs_that_train_nothing_stand_on_the_board_by_what_they_returned(tmp_path):
    for number, gigabytes in enumerate((2.5, 1.5)):
        outcome = {"status": "finished", "value": gigabytes}
        job_folder(tmp_path, number, outcome, {"memory/total_gb": gigabytes}, {}, r=number)
    assert "2 of 2 jobs finished" in summarise(tmp_path)
    assert [(row["job"], row["memory/total_gb"]) for row in board(tmp_path)] == [("1", "1.5"), ("0", "2.5")]
    many = {f"memory/part_{n}_gb": 6.5536e-5 for n in range(9)}
    job_folder(tmp_path, 2, {"status": "finished", "value": 9.0}, many, {})
    assert summarise(tmp_path).count("6.5536e-05") == 9, "figures are not cut"
    assert "job's return value" in (tmp_path / "leaderboard.svg").read_text(encoding="utf-8")
    assert publish_best(tmp_path) == "nothing is published"


def trained(sweep, number, loss, validation="x", published=None):
    outcome = {"status": "finished", "value": loss}
    job_folder(sweep, number, outcome, {"val/loss": loss}, {"validation": validation}, r=number)
    (sweep / str(number) / "adapter").mkdir()
    (sweep / str(number) / "adapter" / "manifest.json").write_text(str(number), encoding="utf-8")
    goes_to(sweep, number, published or sweep / "out")


def goes_to(sweep, number, target):
    output = {"kind": "adapter", "published": str(target)}
    (sweep / str(number) / "output.json").write_text(json.dumps(output), encoding="utf-8")


def test_of_each_name_the_best_is_published(tmp_path):
    for number, loss in enumerate((3.0, 1.0, 2.0)):
        trained(tmp_path, number, loss)
    for number in range(3):
        goes_to(tmp_path, number, tmp_path / "out" / ("a" if number == 0 else "b"))
    told = publish_best(tmp_path)
    assert [(tmp_path / "out" / name / "manifest.json").read_text() for name in "ab"] == ["0", "1"]
    assert told.count("is published in") == 2
    (tmp_path / "out" / "c").mkdir()
    (tmp_path / "out" / "c" / "notes").touch()
    for number in range(3):
        goes_to(tmp_path, number, tmp_path / "out" / ("c" if number == 0 else "d"))
    with pytest.raises(InputError, match=r"job 0 is not published: .*/c exists .*; the adapter of job 1"):
        publish_best(tmp_path)
    assert (tmp_path / "out" / "d" / "manifest.json").read_text() == "1"
    trained(tmp_path, 3, 0.5, validation="y")
    for number in range(4):
        goes_to(tmp_path, number, tmp_path / "out" / ("f" if number == 3 else "g"))
    told = publish_best(tmp_path)
    assert told.count("is published in") == 2, "only jobs of one name are rivals"
    for number in range(4):
        goes_to(tmp_path, number, tmp_path / "out" / "e")
    assert "none of them is published" in publish_best(tmp_path)
    assert not (tmp_path / "out" / "e").exists()


def test_a_torn_manifest_and_what_a_refused_job_left_unresolved(tmp_path):
    trained(tmp_path, 0, 1.0)
    trained(tmp_path, 1, 2.0)
    (tmp_path / "0" / "manifest.json").write_text('{"validation": "x', encoding="utf-8")
    for number, cache in enumerate(("outputs/cache", "outputs/cache", "${paths.outputs}/cache")):
        job_folder(tmp_path / "three", number, {"status": "failed"}, r=number, cache=cache)
    assert "is published in" in publish_best(tmp_path)
    assert (tmp_path / "out" / "manifest.json").read_text() == "1"
    summarise(tmp_path)
    assert "manifest.json" in {row["job"]: row["reason"] for row in board(tmp_path)}["0"]
    summarise(tmp_path / "three")
    assert "cache" not in board(tmp_path / "three")[0]
