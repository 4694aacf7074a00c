"""Commands in the documentation compose, make's targets exist, links lead somewhere, and the examples run."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import cdsframe
from cdsframe.config import check
from cdsframe.config.open_keys import with_plus

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python (ingest|train|evaluate|serve|ask)\.py((?: +[^\n#`]+)?)")


def _commands():
    for page in PAGES:
        for name, arguments in COMMAND.findall(page.read_text(encoding="utf-8")):
            yield pytest.param(name, arguments.strip(), id=f"{page.name}: {name}.py {arguments.strip()}"[:90])


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """A place where everything that the documentation names is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDSFRAME_DATA", str(tmp_path / "data"))
    for file in (
        "FILE",
        "FILE.csv",
        "FILE.jsonl",
        "FILE.parquet",
        "FILE.jsonl.gz",
        "data/medquad/retrieval_corpus.jsonl.gz",
        "data/summarisation/mts_dialog.jsonl.gz",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for name in ("demo", "results", "small", "paper_small"):
        folder = tmp_path / "outputs" / "adapters" / name
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").touch()
        (tmp_path / "outputs" / "calibrations" / name).mkdir(parents=True)
        (tmp_path / "outputs" / "calibrations" / name / "calibration.json").touch()
    (tmp_path / "FOLDER").mkdir()
    return tmp_path


def _combinations(overrides):
    """The jobs of a multirun: every comma outside brackets and quotes offers a choice."""
    jobs = [[]]
    for override in overrides:
        key, _, value = override.partition("=")
        values = [value] if "[" in value or '"' in value else value.split(",")
        jobs = [[*job, f"{key}={one}"] for job in jobs for one in values]
    return jobs


def _compose(name, overrides, config_folder=ROOT / "configs"):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder), version_base="1.3"):
        return compose(name, with_plus(overrides, config_folder / f"{name}.yaml"))


@pytest.mark.parametrize(("name", "arguments"), list(_commands()))
def test_commands_compose(name, arguments, outputs):
    if arguments.startswith("-sc"):
        pytest.skip("Hydra's own tab completion")
    words = shlex.split(arguments)
    if "--config-dir" in words or "newest" in arguments or "letters" in arguments:
        pytest.skip("runs in a test of its own")
    overrides = [word.replace("…", "'what?'") for word in words if "=" in word]
    if "evaluation.runs" in arguments:
        overrides = [override.replace("FOLDER,FOLDER", f"{outputs}/FOLDER,{outputs}/outputs") for override in overrides]
    overrides = [
        f'{k}="{v}"' if " " in v and '"' not in v else f"{k}={v}" for k, _, v in (o.partition("=") for o in overrides)
    ]
    for job in _combinations(overrides) if "-m" in words else [overrides]:
        check(_compose(name, job))


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert {a or b for a, b in named} <= targets, page.name


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


def _blocks(page, language):
    return re.findall(
        rf"^ *```{language}\n(.*?)^ *```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.S | re.M
    )


def test_the_page_on_extending_shows_the_files_of_the_example():
    example = ROOT / "examples" / "my_hospital"
    for language, suffix in (("python", "*.py"), ("yaml", "*.yaml")):
        files = {path.read_text(encoding="utf-8") for path in example.rglob(suffix)}
        shown = _blocks("extend.md", language)
        assert len(shown) >= 2
        assert set(shown) <= files
    assert textwrap.dedent(_blocks("extend.md", "toml")[0]) in (example / "pyproject.toml").read_text(encoding="utf-8")


def test_the_page_on_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    system = cdsframe.compose("ingest", ["embedder=none", "index.name=words"])
    system.run_job("ingestion")
    room = {}
    for block in _blocks("python.md", "python"):
        exec(compile(block, "python.md", "exec"), room)
    printed = capsys.readouterr().out
    assert printed.startswith("1 ")
    assert "Could not find 'retriever/bm26'" in printed


@pytest.fixture
def extended(monkeypatch):
    """The example package, named by the user."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "my_hospital"))
    monkeypatch.setenv("CDSFRAME_COMPONENTS", "my_hospital")
    GlobalHydra.instance().clear()


def test_the_retriever_of_the_documentation_works(extended):
    from cdsframe.ingestion.update import update
    from cdsframe.retriever.flat import Bm25
    from cdsframe.types import Document, Section

    class Corpus:
        def documents(self):
            for id, date in (("old", "2020-01-01"), ("new", "2025-01-01")):
                text = f"the dose of velorapine {'dose ' if id == 'old' else ''}"
                yield Document(id, "Dose", text, (Section((), 0, len(text)),), {"date": date})

    system = cdsframe.compose("train", ["retriever=newest", "embedder=none"])
    index = system.index
    update(8, 0, 1, False, False, Corpus(), system.chunking, system.embedder, index)
    bm25 = Bm25(3, 50, index).search("dose of velorapine")
    assert [hit.passage.document_id for hit in bm25] == ["old", "new"]
    hits = system.retriever.search("dose of velorapine")
    assert [hit.passage.document_id for hit in hits] == ["new", "old"]


def test_the_corpus_reader_of_the_documentation_works(extended, tmp_path):
    (tmp_path / "a.letter").write_text("Dear ward\nThe dose is 15 mg.", encoding="utf-8")
    (tmp_path / "b.letter").write_bytes(b"\xff\xfe")
    good, bad = cdsframe.compose("ingest", ["corpus=letters", f"corpus.path={tmp_path}"]).corpus.documents()
    assert (good.title, good.text, bad.source) == ("Dear ward", "The dose is 15 mg.", "b.letter")


def test_no_page_names_a_machine():
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "requirements.lock", ROOT / "Makefile"]:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(root|home|Users|mnt)/", text), page.name
        assert ("index-url" not in text and "find-links" not in text) or page.name == "Makefile"


def test_the_page_on_the_architecture_names_each_module():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {path.stem for path in (ROOT / "cdsframe").iterdir() if path.name[0] not in "._"}
    assert {name for name in modules - {"hospital", "configs"} if f"`{name}`" not in text} == set()
