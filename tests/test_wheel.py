"""The wheel, installed into an environment of its own, brings the commands and the configurations."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.children import run_child

ROOT = Path(__file__).parent.parent
TINY = ["quantization=none", "embedder=none", "retriever=none", "trainer=cpu", "logger=csv", "prompt.max_tokens=64"]


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The folder of the commands of an environment that has the wheel, and this environment's other packages."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-cache-dir"]
    offline = {**os.environ, "PIP_NO_INDEX": "1"}
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True, env=offline
    )
    (wheel,) = folder.glob("cdsframe-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env/bin/python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True, env=offline)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env"), "platbase": str(folder / "env")}))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "env/bin"


def run(commands, *arguments, cwd):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CDSFRAME_DATA")}
    return run_child([commands / "cdsframe", *arguments], seconds=300, cwd=cwd, env=environment)


def test_it_ingests_asks_and_trains_from_an_empty_folder(commands, tmp_path):
    done = run(commands, "ingest", "embedder=none", "index.name=words", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    question = "question=Which dose of velorapine?"
    words = ["embedder=none", "index.name=words", "retriever=bm25", "generator=none"]
    done = run(commands, "ask", *words, question, cwd=tmp_path)
    assert (done.returncode, "velorapine" in done.stdout.lower()) == (0, True), done.stderr
    limits = ["training.train_limit=4", "training.validation_limit=2", "trainer.max_steps=1", "training.max_length=256"]
    done = run(commands, "train", *TINY, *limits, "model=tiny", "name=small", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs/adapters/small/adapter_model.safetensors").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


def test_multiruns_help_and_mistakes(commands, tmp_path):
    done = run(commands, "ask", "--help", cwd=tmp_path)
    assert "Answers one question from an index" in done.stdout
    done = run(commands, "ask", "retriever=bm26", "question=x", cwd=tmp_path)
    assert (done.returncode, "Could not find 'retriever/bm26'" in done.stderr) == (1, True)
    done = run(commands, "aks", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "cdsframe: no command 'aks'; did you mean ask?\n")
    assert "ingest" in run(commands, cwd=tmp_path).stdout
    assert run(commands, "--version", cwd=tmp_path).stdout.startswith("cdsframe 0.")


def test_completion_knows_the_command_before_the_arguments(commands, tmp_path):
    script = f"""
        PATH="{commands}:$PATH"
        eval "$(cdsframe completion bash)"
        complete_line() {{
            COMP_LINE="$1" COMP_POINT=${{#1}}; read -ra COMP_WORDS <<< "$1"
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=(); _cdsframe; echo "${{COMPREPLY[@]}}"
        }}
        complete_line "cdsframe ev"; complete_line "cdsframe ask retriever=bm"; complete_line "cdsframe train lora=rs"
    """
    done = run_child(["bash", "-c", script], seconds=300, cwd=tmp_path)
    assert done.stdout.split() == ["evaluate", "retriever=bm25", "lora=rslora"], done.stdout + done.stderr
