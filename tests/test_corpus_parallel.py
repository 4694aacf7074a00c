"""Work in several processes: order, deaths, interruptions, and what is left behind (nothing)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cdsframe.corpus.parallel import Died, ordered
from tests.children import child, patience


def work(item):
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "fail":
        raise ValueError("no")
    if item == "blocked":
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    time.sleep(0.01 if item == 0 else 0)
    return item if item != "pid" else os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_items_and_few_are_fetched_ahead(workers):
    fetched = []

    def items():
        for number in range(40):
            fetched.append(number)
            yield number

    results = ordered(work, items(), workers)
    assert next(results) == (0, 0)
    assert len(fetched) <= 8 + 1
    assert [item for item, result in results if item == result] == list(range(1, 40))


def test_a_process_that_dies_costs_only_its_item():
    results = list(ordered(work, ["a", "die", "b", "die", "die", "c"], 2))
    assert [item for item, result in results] == ["a", "die", "b", "die", "die", "c"]
    assert [isinstance(result, Died) for _, result in results] == [False, True, False, True, True, False]


def test_ctrl_c_is_not_for_a_worker_from_its_beginning():
    """Else it would end with a traceback while it imports its modules."""
    assert list(ordered(work, ["blocked"], 2)) == [("blocked", True)]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_what_a_worker_raises_is_raised_here():
    with pytest.raises(ValueError, match="no"):
        list(ordered(work, ["a", "fail"], 2))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]


def test_processes_end_with_the_iteration():
    results = ordered(work, ["pid"] * 20, 2)
    _, pid = next(results)
    assert alive(pid)
    results.close()
    assert not alive(pid)


SCRIPT = """
import os, sys, time
from cdsframe.corpus.parallel import ordered

def work(item):
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    time.sleep(item)

if __name__ == "__main__":
    for item, result in ordered(work, [0.01, 0.01] + [60] * 20, 2):
        print("one", flush=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_no_process_is_left_behind(tmp_path, sent):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pids").mkdir()
    root = Path(__file__).parent.parent
    with child(
        [sys.executable, tmp_path / "script.py", tmp_path / "pids"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        process.stdout.readline()
        process.stdout.readline()
        time.sleep(0.5)
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)  # a terminal sends it to all
        else:
            process.kill()
        _, errors = process.communicate(timeout=patience(20))
        assert errors.count("Traceback") == (1 if sent == signal.SIGINT else 0)
        pids = [int(path.name) for path in (tmp_path / "pids").iterdir()]
        assert len(pids) == 2
        deadline = time.monotonic() + patience(10)
        while any(map(alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(alive, pids))


LIMITED = """
import contextlib, os, signal, sys, time
from cdsframe.corpus.parallel import TooLong, time_limit

def handler(number, frame):
    raise SystemExit("another handler was called")

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 500)
set_timer = signal.setitimer

def interrupted(which, seconds, interval=0.0):
    signal.setitimer = set_timer  # the signal comes once
    os.kill(os.getpid(), signal.SIGALRM)
    return set_timer(which, seconds, interval)

seconds, stopped = float(sys.argv[1]), False
try:
    with time_limit(seconds):
        if sys.argv[2] == "interrupted":
            signal.setitimer = interrupted
        time.sleep(min(5, 4 * seconds) if seconds < 5 else 0.1)
except TooLong:
    stopped = True
left = signal.getitimer(signal.ITIMER_REAL)
print(stopped, signal.getsignal(signal.SIGALRM) is handler, 400 < left[0] <= 500, left[1])
"""
"""In a process of its own: a signal that is not handled as expected ends the process."""


@pytest.mark.parametrize(("seconds", "clean_up"), [(0.05, "quiet"), (0.05, "interrupted"), (60, "interrupted")])
def test_a_time_limit_stops_its_block_and_leaves_timer_and_handler_as_they_were(seconds, clean_up):
    """A process that was stopped for a second gets the repeated signal before it has switched the timer off."""
    command = [sys.executable, "-c", LIMITED, str(seconds), clean_up]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience(60))
    assert (done.returncode, done.stdout.split()) == (0, [str(seconds < 1), "True", "True", "0.0"]), done.stderr
