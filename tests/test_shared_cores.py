"""OpenMP's threads sleep at once while other programs use the cores, and results stay the same to the bit."""

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from cdsframe.machine import shared_cores as module
from cdsframe.machine.environment import set_defaults, usable_cores, waiting_by_default
from cdsframe.machine.shared_cores import Times, teams_needed, times, used_by_others
from tests.children import patience, run_child

ROOT = Path(__file__).parent.parent
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SEVERAL = pytest.mark.skipif(
    len(usable_cores()) < 2 or not module._STATISTICS.is_file(), reason="needs two cores and Linux"
)


def run(code, **options):
    """The last line that a program prints, as JSON; with the defaults of the entry points."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(len(usable_cores()))}
    for name in WAITING:
        environment.pop(name, None)
    set_defaults(environment)
    done = run_child([sys.executable, "-c", code], env=environment, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_only_the_time_of_other_programs_on_this_programs_cores_counts(tmp_path, monkeypatch):
    ticks = os.sysconf("SC_CLK_TCK")
    file = tmp_path / "stat"
    monkeypatch.setattr(module, "_STATISTICS", file)
    rows = [
        "cpu  9 9 9 9 9 9 9 9 9 9",
        f"cpu0 {ticks} 0 {ticks} 500 500 {ticks} {ticks} {ticks} {ticks} 0",
        f"cpu1 {2 * ticks} {ticks} 0 500 500 0 0 0 0 0",
        f"cpu12 {100 * ticks} 0 0 0 0 0 0 0 0 0",
        "intr 7 7",
    ]
    file.write_text("\n".join(rows), encoding="ascii")
    assert times({0, 1}).all == 5 + 3
    assert times({0}).all == 5
    assert used_by_others(Times(10, 5, 2), Times(12, 9, 3)) == 1.5


@pytest.mark.parametrize(("threads", "cores", "needed"), [(2, 2, 1), (4, 4, 1), (4, 8, 2), (2, 3, 2), (16, 16, 1)])
def test_idle_teams_make_more_threads_than_cores(threads, cores, needed):
    assert teams_needed(threads, cores) == needed
    assert threads + needed * (threads - 1) > cores >= threads + (needed - 1) * (threads - 1)


@pytest.mark.parametrize("variable", WAITING)
def test_nothing_is_watched_where_the_user_says_how_threads_wait(variable, monkeypatch):
    monkeypatch.setattr(module, "_watcher", None)
    monkeypatch.setenv(variable, "7")
    started = threading.active_count()
    module.watch()
    assert (module._watcher, threading.active_count()) == (None, started)


def test_a_program_that_another_one_starts_is_watched_too():
    environment = {}
    set_defaults(environment)
    assert waiting_by_default(environment)
    set_defaults(environment)
    assert waiting_by_default(environment)


@SEVERAL
def test_beside_an_idle_team_threads_sleep_and_compute_the_same():
    waits = """
import json, resource, time, torch
from cdsframe.machine.shared_cores import IdleTeam

def work():
    total, before = torch.zeros(1 << 18), resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for step in range(400):
        total += torch.sin(total + step)
        until = time.perf_counter() + 5e-5
        while time.perf_counter() < until:
            pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before, total

work()
alone, first = work()
team = IdleTeam()
beside, second = work()
team.end()
print(json.dumps([alone, beside, bool((first == second).all())]))
"""
    alone, beside, equal = run(waits)
    assert equal
    assert beside > 400, "each step has two waits of 50 microseconds, which is longer than threads may spin now"
    assert alone < beside


def test_idle_teams_start_when_cores_are_missing_and_end_afterwards(monkeypatch):
    """Two threads on two cores; the file cannot be read once, and lacks a column once."""
    readings = [
        Times(0, 0, 0),
        Times(1, 2, 1.9),
        OSError,
        Times(2, 4, 2.9),
        ValueError,
        Times(3, 5.3, 3.9),
        Times(4, 7, 5.8),
    ]
    running, seen = [], []

    class Team:
        def __init__(self):
            running.append(self)

        def end(self):
            running.remove(self)

    def sleep(_):
        seen.append(len(running))
        if not readings:
            raise SystemExit

    def reading(_):
        if isinstance(now := readings.pop(0), Times):
            return now
        raise now

    for name, value in (("IdleTeam", Team), ("times", reading), ("_threads", lambda: 2)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "usable_cores", lambda: {0, 1})
    monkeypatch.setattr(module.time, "sleep", sleep)
    with pytest.raises(SystemExit):
        module._look()
    assert seen == [0, 0, 0, 0, 1, 1, 1, 0]


@SEVERAL
def test_busy_neighbours_are_noticed_in_a_forked_process_too():
    looks = """
import json, multiprocessing, subprocess, sys, threading, time
from cdsframe.machine.shared_cores import watch

def held():
    return any(thread.name == "idle-team" for thread in threading.enumerate())

def look(answers):
    import torch
    torch.zeros(1 << 20)
    watch()
    watch()
    watching = sum(thread.name == "shared-cores" for thread in threading.enumerate())
    until = time.monotonic() + PATIENCE
    while not held() and time.monotonic() < until:
        time.sleep(0.1)
    answers.put([watching, held()])

watch()
neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
context = multiprocessing.get_context("fork")
answers = context.SimpleQueue()
child = context.Process(target=look, args=(answers,))
child.start()
print(json.dumps(answers.get()))
for process in (child, *neighbours):
    process.kill()
"""
    assert run(looks.replace("PATIENCE", repr(patience(20)))) == [1, True]


def test_a_job_of_a_sweep_is_watched_where_it_works(tmp_path):
    """It works in a forked process, which has no thread of the process that started it."""
    program = tmp_path / "job.py"
    program.write_text(
        "import sys, threading\n"
        "from cdsframe.cli.entry import entry\n"
        "sys.modules['cdsframe.cli.entry'].check = lambda cfg: None\n"
        "@entry\n"
        "def main(system):\n"
        "    print([thread.name for thread in threading.enumerate()], flush=True)\n"
        "    return 0.0\n"
        "main()\n",
        encoding="utf-8",
    )
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/job.yaml").write_text("own_process: true\nx: 1\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = run_child(
        [sys.executable, program, "-m", "x=1,2", f"hydra.sweep.dir={tmp_path}/out"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert done.stdout.count("'shared-cores'") == 2, done.stdout + done.stderr
