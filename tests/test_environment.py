"""The defaults of native libraries: set before torch is loaded, never over the user's own."""

import os
import sys
from pathlib import Path

import pytest

from cdsframe.machine import environment as module
from cdsframe.machine.environment import cached_kernels, cpu_quota, set_defaults
from tests.children import run_child

ROOT = Path(__file__).parent.parent


@pytest.fixture
def no_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_CGROUP_2", tmp_path / "cpu.max")
    monkeypatch.setattr(module, "_CGROUP_1", tmp_path)
    return tmp_path


def defaults(**environment):
    set_defaults(environment)
    return environment


def test_threads_spin_briefly(no_limit):
    assert 0 < int(defaults()["GOMP_SPINCOUNT"]) < 300_000, "the library's own number"
    assert "OMP_NUM_THREADS" not in defaults()


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_the_users_own_way_of_waiting_stays(no_limit, name):
    made = defaults(**{name: "7"})
    assert {key: value for key, value in made.items() if key in module._WAITING} == {name: "7"}


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 2), ("100000 100000", 1), ("max 100000", None), ("x", None)]
)
def test_a_containers_limit_is_its_number_of_threads(no_limit, text, cores, monkeypatch):
    (no_limit / "cpu.max").write_text(text, encoding="ascii")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    assert cpu_quota() == cores
    assert defaults().get("OMP_NUM_THREADS") == (str(cores) if cores else None)
    assert defaults(OMP_NUM_THREADS="9")["OMP_NUM_THREADS"] == "9"


def test_a_limit_above_the_cores_of_the_process_does_not_count(no_limit, monkeypatch):
    (no_limit / "cpu.max").write_text("800000 100000", encoding="ascii")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert "OMP_NUM_THREADS" not in defaults()


def test_few_kernels_are_kept_unless_the_user_says_otherwise(no_limit, monkeypatch):
    assert defaults()["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "64"
    assert defaults(ONEDNN_PRIMITIVE_CACHE_CAPACITY="500")["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "500"
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "500")
    assert cached_kernels() == 500
    for text, kernels in (("100000", 1024), ("-1", 0), ("many", 1024)):
        monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", text)
        assert cached_kernels() == kernels
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    assert cached_kernels() == 1024


def test_an_older_containers_limit_is_read_too(no_limit):
    (no_limit / "cpu.cfs_quota_us").write_text("300000\n", encoding="ascii")
    (no_limit / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert cpu_quota() == 3
    (no_limit / "cpu.cfs_quota_us").write_text("-1\n", encoding="ascii")
    assert cpu_quota() is None


def test_an_entry_point_sets_them_before_torch_is_loaded(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in module._WAITING}
    code = (
        "import os, sys, ingest\n"
        "def probe(cfg):\n"
        "    print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)\n"
        "    raise SystemExit\n"
        "sys.modules['cdsframe.cli.entry'].check = probe\n"
        "sys.argv = ['ingest.py', 'hydra.run.dir=.', 'hydra.output_subdir=null']\n"
        "ingest.main()\n"
    )
    done = run_child([sys.executable, "-c", code], cwd=tmp_path, env={**environment, "PYTHONPATH": str(ROOT)})
    assert done.stdout.split() == [module._BRIEF["GOMP_SPINCOUNT"], "False"], done.stderr
