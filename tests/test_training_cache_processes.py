"""Sets of examples between processes: a killed build, builds at once, and a home folder that stays empty."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cdsframe.artifacts.run import read_manifest
from tests.children import patience

ROOT = Path(__file__).parent.parent

CHILD = '''
import sys, time
from pathlib import Path
from cdsframe.chat.encoding import Encoded, IGNORED
from cdsframe.training import cache, examples
from cdsframe.training.examples import Example, PreparedQuestions
from cdsframe.training.left_out import LeftOut
from cdsframe.types import Question

folder, stop = sys.argv[1], sys.argv[2]

class Builder:
    identity, grounded, max_length = {"made": "up"}, False, 1024
    def prepare(self, questions):
        return PreparedQuestions(self, questions, {}, LeftOut())
    def examples_of(self, some, gold, left_out):
        if stop != "no" and int(some[0].id) >= 1024:
            print("half", flush=True)
            time.sleep(600)
        return [Example(q.id, Encoded([1, 2, int(q.id)], [IGNORED, 2, int(q.id)])) for q in some]

questions = [Question(str(n), "q", "a") for n in range(3000)]
print("ready", flush=True)
if stop == "no":
    sys.stdin.readline()
for place in (folder, None):
    found = cache.cached(place, Builder(), questions, {})
    assert [e.encoded.input_ids[2] for e in found] == list(range(3000))
    assert found.lengths == [3] * 3000
    assert found[-1] == Example("2999", Encoded([1, 2, 2999], [IGNORED, 2, 2999]))
import pyarrow, pyarrow.parquet
from cdsframe.data.file import FileQuestions
for name, write in (("rows.parquet", pyarrow.parquet.write_table), ("rows.csv", None)):
    path = Path(folder).parent / f"{sys.argv[3]}-{name}"
    table = pyarrow.table({"question": ["a?"], "answer": ["b"]})
    write(table, path) if write else path.write_text("question,answer\\na?,b\\n")
    read = FileQuestions(str(path), None, "question", "answer", None, None, None, None, None, "drop", 0, 0, 0, None)
    assert len(read.questions("train")) == 1
print("done", flush=True)
'''  # fmt: skip


@pytest.fixture
def start(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    removed = ("HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME", "HF_HUB_CACHE")
    environment = {k: v for k, v in os.environ.items() if k not in removed} | {"HOME": str(home), "TMPDIR": str(home)}
    running = []

    def begin(folder, stop, name):
        command = [sys.executable, "-c", CHILD, str(folder), stop, name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()
    assert not list(home.rglob("*")), "nothing in the home folder or the folder of temporary files"


def test_a_killed_build_leaves_no_set_and_two_builds_make_one(tmp_path, start):
    folder = tmp_path / "examples"
    killed = start(folder, "half", "killed")
    assert killed.stdout.readline() == "ready\n"
    assert killed.stdout.readline() == "half\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not list(folder.glob("?" * 16)), "no half-written set"
    (left,) = folder.glob(".*.partial")
    assert left.stat().st_mode & 0o077 == 0

    both = [start(folder, "no", name) for name in ("one", "other")]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        out, _ = process.communicate(timeout=patience(120))
        assert (out, process.returncode) == ("done\n", 0)
    (place,) = folder.glob("?" * 16)
    assert place.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o077 == 0 for file in place.iterdir())
    assert read_manifest(place, "examples", needed={"key": str}, version=2)["key"] == place.name
