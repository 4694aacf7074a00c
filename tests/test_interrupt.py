"""Ctrl-C from the first moment on: exit code 130, and no traceback."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ["train", "ingest", "serve", "evaluate", "ask"]


@pytest.fixture(autouse=True)
def _ctrl_c_is_on():
    """Also where the tests run in the background: a shell switches it off there, and programs inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted_after(module, *command):
    """A program gets Ctrl-C when it has imported a module: its exit code, and what it tells beside its imports."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        lines = []
        for line in process.stderr:
            if line.startswith("import time:"):
                if line.rpartition("|")[2].strip() == module:
                    process.send_signal(signal.SIGINT)
            else:
                lines.append(line)
    return process.returncode, "".join(lines)


@pytest.mark.parametrize("module", ["cdsframe.cli.interrupt", "yaml", "omegaconf", "pydantic", "cdsframe.types"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_while_modules_are_imported_it_ends_without_a_word(script, module):
    assert interrupted_after(module, f"{script}.py") == (130, "")


def test_afterwards_it_says_so_in_a_line(tmp_path):
    command = ["ask.py", "question=x", "embedder=none", "retriever=bm25", f"hydra.run.dir={tmp_path}"]
    told = (130, "\nask: interrupted; completed work is kept\n")
    assert interrupted_after("hydra._internal.logging_config", *command) == told


@pytest.mark.parametrize("how", ["import ask", "import cdsframe"])
def test_a_program_of_ones_own_keeps_its_ctrl_c(how):
    code = f"{how}, signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n    exit(7)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 7
