"""Components outside the package: which packages are allowed, how their options are found, what is refused."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import cdsframe
from cdsframe.config import components
from cdsframe.config.build import locate
from cdsframe.config.contract import CONTRACTS, contract_problems
from cdsframe.errors import ConfigError
from tests.children import run_child

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/my_hospital"


@pytest.fixture
def example(monkeypatch):
    """The example package on the path and named by the user."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setenv("CDSFRAME_COMPONENTS", "my_hospital")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_hospital"]:
        del sys.modules[name]


def package(folder, name, monkeypatch, **files):
    """Writes a package whose modules and options are given as texts, and names it."""
    for path, text in {"__init__.py": "", **files}.items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("CDSFRAME_COMPONENTS", name)


def test_other_packages_are_refused_with_both_ways_to_allow_them():
    for target in ("os.system", "my_hospital.newest.Newest", "builtins.eval", "cdsframes.x"):
        with pytest.raises(ConfigError, match=r"entry point group cdsframe\.components.*CDSFRAME_COMPONENTS="):
            locate(target)


def test_a_package_that_the_user_names_is_composed_and_built(example):
    GlobalHydra.instance().clear()
    system = cdsframe.compose("serve", ["retriever=newest", "embedder=none", "index=memory"])
    assert type(system.retriever).__name__ == "Newest"
    assert system.retriever.top_k == 3
    assert system.answers_depend_on["retriever"]["share"] == 0.5


def test_a_package_that_declares_itself_needs_no_variable(monkeypatch):
    class Declared:
        name, value = "my-hospital", "my_hospital"

    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setattr(components, "_installed", lambda: (Declared(),))
    GlobalHydra.instance().clear()
    assert cdsframe.compose("ingest", ["corpus=letters", f"corpus.path={EXAMPLE}"]).corpus.name == "letters"


def test_its_options_are_checked_as_the_built_in_ones(example):
    GlobalHydra.instance().clear()
    with pytest.raises(ConfigError) as refused:
        cdsframe.compose("serve", ["retriever=newest", "retriever.share=2", "+retriever.topk=3"])
    assert refused.value.problems == [
        "retriever.topk is not an option of my_hospital.newest.Newest; did you mean retriever.top_k?",
        "retriever.share must be <= 1, got 2",
    ]


def test_the_contracts_and_the_package_check_are_run_by_the_example():
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLE}", "CDSFRAME_COMPONENTS": "my_hospital"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    done = run_child(command, cwd=EXAMPLE, env=environment)
    assert done.returncode == 0, done.stdout


def test_a_command_finds_its_options(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE), "CDSFRAME_COMPONENTS": "my_hospital"}
    command = [sys.executable, str(ROOT / "ask.py"), "--cfg", "job", "question=x", "retriever=newest"]
    done = run_child(command, cwd=tmp_path, env=environment)
    assert "_target_: my_hospital.newest.Newest" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"broken.py": "import nowhere"}, "needs the package nowhere, which is not installed"),
        ({"broken.py": "1 / 0"}, "cannot be imported: division by zero; fix the package"),
        ({"broken.py": "class Other: ..."}, "does not exist"),
        ({}, "no module of_ward_7.broken"),
        (
            {"broken.py": "class Thing:\n    def __init__(self): ...\n    def search(self): ..."},
            r"of_ward_7\.broken\.Thing is not a valid retriever: it lacks search_many \(the contract is cdsframe\.",
        ),
    ],
)
def test_a_package_that_does_not_work_is_refused_in_a_sentence(tmp_path, monkeypatch, files, message):
    option = "_target_: of_ward_7.broken.Thing\n"
    package(tmp_path, "of_ward_7", monkeypatch, **files, **{"configs/retriever/mine.yaml": option})
    GlobalHydra.instance().clear()
    try:
        with pytest.raises(ConfigError, match=message):
            cdsframe.compose("serve", ["retriever=mine"])
    finally:
        for name in [name for name in sys.modules if name.startswith("of_ward_7")]:
            del sys.modules[name]


def test_an_object_that_lacks_attributes_is_refused_when_it_is_built(tmp_path, monkeypatch):
    code = "class Thing:\n    def __init__(self): ...\n    search = search_many = lambda self, *given, **settings: []"
    files = {"made.py": code, "configs/retriever/mine.yaml": "_target_: of_ward_8.made.Thing\n"}
    package(tmp_path, "of_ward_8", monkeypatch, **files)
    GlobalHydra.instance().clear()
    system = cdsframe.compose("serve", ["retriever=mine"])
    with pytest.raises(ConfigError, match="is not a valid retriever: it lacks top_k, searches"):
        system.pipeline  # noqa: B018


def test_a_name_that_python_does_not_find_is_refused(monkeypatch):
    GlobalHydra.instance().clear()
    for name in ("no_such_package", "not a name", "cdsframe"):
        monkeypatch.setenv("CDSFRAME_COMPONENTS", name)
        with pytest.raises(ConfigError, match="CDSFRAME_COMPONENTS names the package"):
            cdsframe.compose("serve")


def test_an_option_that_shadows_a_built_in_one_is_refused_by_name(tmp_path):
    (tmp_path / "ward/configs/retriever").mkdir(parents=True)
    (tmp_path / "ward/__init__.py").touch()
    (tmp_path / "ward/configs/retriever/bm25.yaml").write_text("_target_: ward.x.Y\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CDSFRAME_COMPONENTS": "ward"}
    command = [sys.executable, str(ROOT / "ask.py"), "question=x"]
    done = run_child(command, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert "retriever/bm25.yaml in" in done.stderr
    assert "has the name of a file in" in done.stderr


def test_each_built_in_component_fulfils_its_contract():
    import yaml

    for path in (ROOT / "configs").glob("*/*.yaml"):
        if path.parent.name in CONTRACTS:
            target = locate(yaml.safe_load(path.read_text(encoding="utf-8"))["_target_"])
            assert contract_problems(path.parent.name, target) == [], path


def test_composing_in_python_raises_and_does_not_exit(monkeypatch):
    GlobalHydra.instance().clear()
    for arguments, message in (
        (("serv",), r"'serv' is not a primary configuration; did you mean serve\?"),
        (("serve", "retriever=bm25"), "overrides must be a list of strings"),
        (("serve", ["retriever=bm26"]), "Could not find 'retriever/bm26'"),
        (("serve", ["seed=-1", "name=a/b"]), "seed must be >= 0"),
        (("serve", ["nothing=1"]), "nothing"),
    ):
        with pytest.raises(ConfigError, match=message):
            cdsframe.compose(*arguments)
    with pytest.raises(ConfigError, match=r"config_dir: the folder .* does not exist"):
        cdsframe.compose("serve", config_dir="/no/such/folder")
    with pytest.raises(ConfigError, match="the configuration has no corpus"):
        cdsframe.compose("serve").corpus  # noqa: B018
    with pytest.raises(ConfigError, match="without a run folder"):
        cdsframe.compose("serve").run  # noqa: B018


def test_each_component_is_built_once():
    GlobalHydra.instance().clear()
    system = cdsframe.compose("ask", ["embedder=none", "retriever=bm25", "index=memory"])
    assert system.pipeline is system.pipeline
    assert system.pipeline.index is system.index is system.index
    assert system.pipeline.retriever is system.retriever


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, cdsframe; print(sorted(m for m in sys.modules if m.split('.')[0] in ('hydra', 'torch')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    assert {"compose", "Pipeline", "Retriever", "Passage"} <= set(dir(cdsframe))


@pytest.mark.parametrize(
    "target",
    [
        "cdsframe.artifacts.files.write_text",
        "cdsframe.testing.package._check_imports",
        "cdsframe.config.components.imported",
        "cdsframe.__main__.main",
        "cdsframe.cli.main.main",
        "cdsframe.evaluation.ranking.write_trec",
        "cdsframe.corpus.parallel.signal.signal",
        "cdsframe.model._why_not_new",
        "cdsframe.model.logging.getLogger",
        "cdsframe.index.lance.Path",
    ],
)
def test_what_is_no_component_is_refused_though_it_lies_in_the_package(target):
    with pytest.raises(ConfigError, match=r"is not a component|does not exist"):
        locate(target)


INHERITS = """
from cdsframe.retriever.flat import Bm25
class Thing(Bm25):
    def join(self, legs): return super().join(legs)[::-1]
"""
ABSTRACT = """
from abc import ABC, abstractmethod
class Thing(ABC):
    search = search_many = lambda self: []
    @abstractmethod
    def rank(self): ...
"""
ANNOTATED = """
class Thing:
    def __init__(self, top_k: "Missing"): ...
    search = search_many = lambda self: []
"""
CHECKED = """
class Thing:
    def __init__(self, top_k: int): ...
    search = search_many = lambda self, *given, **settings: []
    @staticmethod
    def problems(top_k): raise KeyError("x")
"""
ITSELF = """
class Thing:
    def __init__(self, top_k: int, retriever): ...
    search = search_many = lambda self: []
"""
NONE = """
class Thing:
    def __init__(self, top_k: int): ...
    search, search_many = lambda self: [], None
"""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (INHERITS, None),
        (ABSTRACT, "lacks rank"),
        (ANNOTATED, "the annotation 'Missing' in .* cannot be used"),
        (CHECKED, "problems failed"),
        (ITSELF, "has an argument retriever, but is itself the retriever of the system; rename the argument"),
        (NONE, "lacks search_many"),
        ("import sys; sys.exit(3)", "cannot be imported: 3"),
    ],
)
def test_mistakes_of_a_component_are_refused_in_a_sentence(tmp_path, monkeypatch, code, message):
    keys = "top_k: 4\nnum_candidates: 50\n" if code is INHERITS else "top_k: 4\n" if "top_k" in code else ""
    settings = f"_target_: of_ward_9.made.Thing\n{keys}"
    package(tmp_path, "of_ward_9", monkeypatch, **{"made.py": code, "configs/retriever/mine.yaml": settings})
    GlobalHydra.instance().clear()
    try:
        if message is None:
            system = cdsframe.compose("serve", ["retriever=mine", "embedder=none", "index=memory"])
            assert system.retriever.top_k == 4
        else:
            with pytest.raises(ConfigError, match=message):
                cdsframe.compose("serve", ["retriever=mine", "embedder=none"])
    finally:
        for name in [name for name in sys.modules if name.startswith("of_ward_9")]:
            del sys.modules[name]


@pytest.mark.parametrize(
    "arguments",
    [
        ["question=x", "retriever=newest", "--cfg", "job"],
        ["--cfg", "job", "question=x", "retriever=newest"],
        ["--cfg", "job", "question=x", "hydra.searchpath=[]", "retriever=newest"],
    ],
)
def test_flags_may_stand_anywhere_beside_component_packages(tmp_path, arguments):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE), "CDSFRAME_COMPONENTS": "my_hospital"}
    done = run_child([sys.executable, str(ROOT / "ask.py"), *arguments], cwd=tmp_path, env=environment)
    assert "_target_: my_hospital.newest.Newest" in done.stdout, done.stderr


def test_a_command_says_which_package_is_missing(tmp_path):
    for name in ("no_such_package", "a.b", "__main__"):
        environment = {**os.environ, "CDSFRAME_COMPONENTS": name}
        done = run_child([sys.executable, str(ROOT / "ask.py"), "question=x"], cwd=tmp_path, env=environment)
        assert (done.returncode, f"CDSFRAME_COMPONENTS names the package '{name}'" in done.stderr) == (2, True)


def test_composing_refuses_shadowed_options_and_works_in_threads(tmp_path):
    (tmp_path / "it's/retriever").mkdir(parents=True)
    (tmp_path / "it's/retriever/bm25.yaml").write_text("top_k: 99\n", encoding="utf-8")
    GlobalHydra.instance().clear()
    with pytest.raises(ConfigError, match=r"retriever/bm25\.yaml in .* has the name of a file in"):
        cdsframe.compose("serve", config_dir=tmp_path / "it's")
    (tmp_path / "it's/retriever/bm25.yaml").unlink()
    with ThreadPoolExecutor(8) as pool:
        composed = list(pool.map(lambda _: cdsframe.compose("serve", config_dir=tmp_path / "it's").name, range(8)))
    assert composed == ["default"] * 8
    with pytest.raises(ConfigError, match="has no logger"):
        cdsframe.compose("serve").logger  # noqa: B018
    with pytest.raises(ConfigError, match="list of strings"):
        cdsframe.compose("serve", [5])


def facts(kind, group, fact):
    """A package with a component of the group that declares a fact, and has none of the keys of the built-in ones."""
    members = f"    {fact}\n"
    bases = {
        "embedder": "cdsframe.embedder.HashEmbedder", "chunking": "cdsframe.chunking.fixed.FixedChunker",
        "retriever": "cdsframe.retriever.flat.Bm25", "reranker": "cdsframe.reranker.none.NoReranker",
        "index": "cdsframe.index.memory.MemoryIndex", "trainer": "cdsframe.trainer.LightningTrainer",
    }  # fmt: skip
    module, _, base = bases[group].rpartition(".")
    return {
        "made.py": f"from {module} import {base}\n\n\nclass {kind}({base}):\n{members}",
        f"configs/{group}/own.yaml": f"_target_: ward_facts.made.{kind}\n",
    }


EMBEDDER_OF_32 = "def __init__(self) -> None:\n        super().__init__(8, 32)\n    tokens_read = 32"
SHORT = "def __init__(self, depth: int) -> None: ...\n    hits_read = staticmethod(lambda depth: depth * 100)"
ONE_PROCESS = "def __init__(self) -> None: ...\n    problems = staticmethod(lambda: [])\n    several_processes = {}"
ROUTED = "def __init__(self, routing: bool, identity) -> None: ...\n    routed_by = None"
BROKEN = "def __init__(self) -> None: ...\n    @staticmethod\n    def hits_read():\n        return 1 / 0"


@pytest.mark.parametrize(
    ("group", "members", "command", "problem"),
    [
        ("embedder", EMBEDDER_OF_32, ["ingest"], "more than the 32 tokens that the embedder reads"),
        ("reranker", SHORT, ["serve", "+reranker.depth=2"], r"must be <= retriever.num_candidates=100"),
        ("trainer", ONE_PROCESS.format(False), ["train", "training=embedder"], None),
        ("index", ROUTED, ["serve", "+index.routing=true"], None),
        ("reranker", BROKEN, ["serve"], r"reranker: Own.hits_read failed \(division by zero\); fix the package"),
    ],
    ids=["value", "method", "one process", "another meaning of a key", "a method that fails"],
)
def test_rules_read_what_a_component_declares_and_no_keys(tmp_path, monkeypatch, group, members, command, problem):
    package(tmp_path, "ward_facts", monkeypatch, **facts("Own", group, members))
    GlobalHydra.instance().clear()
    try:
        if problem is None:
            cdsframe.compose(command[0], [f"{group}=own", *command[1:]])
        else:
            with pytest.raises(ConfigError, match=problem):
                cdsframe.compose(command[0], [f"{group}=own", *command[1:]])
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "ward_facts"]:
            del sys.modules[name]
