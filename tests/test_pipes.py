"""A reader of the output that leaves early: no traceback, whatever is printed then."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.children import child, patience, run_child

ROOT = Path(__file__).parent.parent
WORK = """
import logging, os, sys

from cdsframe.cli.entry import entry
@entry
def main(system):
    {work}
    return 0.0
main()
"""
PRINTS = "print('one', flush=True); sys.stdin.readline(); [print('x' * 100) for _ in range(5000)]"
LINES = "sys.stdin.readline(); sys.stdout.writelines(['x' * 99 + chr(10)] * 5000)"
BYTES = "sys.stdin.readline(); [sys.stdout.buffer.write(b'x' * 99) for _ in range(5000)]; sys.stdout.buffer.flush()"
BYTE_LINES = "sys.stdin.readline(); sys.stdout.buffer.writelines([b'x' * 99] * 5000)"
RAW = "sys.stdin.readline(); sys.stdout.buffer.raw.write(b'x')"
BUFFERED = "sys.stdin.readline(); print('never read')"
LOGS = (
    "sys.stdin.readline(); [logging.getLogger('x').warning('line %d', n) for n in range(3)]; open('done', 'w').close()"
)


@contextmanager
def started(folder: Path, work: str) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "configs").mkdir()
    (folder / "configs" / "job.yaml").write_text("name: x\n", encoding="utf-8")
    (folder / "job.py").write_text(WORK.format(work=work), encoding="utf-8")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with child([sys.executable, "job.py"], cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""}, **pipes) as process:
        yield process


@pytest.mark.parametrize(
    "work",
    [PRINTS, BUFFERED, LOGS, LINES, BYTES, BYTE_LINES, RAW],
    ids=["prints", "end", "logs", "lines", "bytes", "lines of bytes", "raw"],
)
def test_a_closed_pipe_leaves_no_traceback(tmp_path: Path, work: str) -> None:
    with started(tmp_path, work) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        told = process.communicate(b"go\n", timeout=patience(120))[1]
    assert told == b""
    assert process.returncode == 0
    assert (tmp_path / "done").exists() == (work == LOGS), "a log line that nobody reads does not end the work"


def test_a_broken_pipe_of_another_kind_is_not_passed_over(tmp_path: Path) -> None:
    with started(tmp_path, "raise BrokenPipeError(32, 'a socket')") as process:
        told = process.communicate(b"", timeout=patience(120))[1]
    assert b"BrokenPipeError" in told
    assert process.returncode == 1


def test_a_closed_stream_leaves_no_traceback(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$0" "$1" --cfg job >&-', sys.executable, ROOT / "train.py"]
    done = run_child(command, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
