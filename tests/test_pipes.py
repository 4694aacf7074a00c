"""A reader of the output that leaves early: no traceback, whatever is printed then."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.children import run_child

ROOT = Path(__file__).parent.parent
WORK = """
import logging, os, sys

from cdsframe.config import entry
@entry
def main(cfg, run):
    {work}
    return 0.0
main()
"""
PRINTS = "print('one', flush=True); sys.stdin.readline(); [print('x' * 100) for _ in range(5000)]"
BUFFERED = "sys.stdin.readline(); print('never read')"
LOGS = (
    "sys.stdin.readline(); [logging.getLogger('x').warning('line %d', n) for n in range(3)]; open('done', 'w').close()"
)


def started(folder: Path, work: str) -> subprocess.Popen[bytes]:
    (folder / "configs").mkdir()
    (folder / "configs" / "job.yaml").write_text("name: x\n", encoding="utf-8")
    (folder / "job.py").write_text(WORK.format(work=work), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "job.py"], cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("work", [PRINTS, BUFFERED, LOGS], ids=["prints", "end", "logs"])
def test_a_closed_pipe_leaves_no_traceback(tmp_path: Path, work: str) -> None:
    with started(tmp_path, work) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        told = process.stderr.read()
    assert told == b""
    assert process.returncode == 0
    assert (tmp_path / "done").exists() == (work == LOGS), "a log line that nobody reads does not end the work"


def test_a_broken_pipe_of_another_kind_is_not_passed_over(tmp_path: Path) -> None:
    with started(tmp_path, "raise BrokenPipeError(32, 'a socket')") as process:
        told = process.communicate(b"", timeout=300)[1]
    assert b"BrokenPipeError" in told
    assert process.returncode == 1


def test_a_closed_stream_leaves_no_traceback(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$0" "$1" --cfg job >&-', sys.executable, ROOT / "train.py"]
    done = run_child(command, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
