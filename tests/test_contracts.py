"""What another package's component must fulfil, wherever it stands: a sentence before work starts, no traceback."""

import sys
import threading
import time

import pytest
import yaml

import cdsframe
from cdsframe.config.composition import Composition
from cdsframe.config.contract import CONTRACTS, contract_problems
from cdsframe.errors import CdsframeError, ConfigError, InputError
from tests.entry_points import exit_code

RETRIEVER = """
class Thing:
    top_k, searches = 4, True
    def search(self, query, top_k=None, filter=None): return []
    def search_many(self, queries, top_k=None, filter=None): return [[] for _ in queries]
"""
SIGNATURES = {
    "too few": "def search_many(self): ...",
    "by keyword only": "def search_many(self, queries, *, top_k=None, filter=None): ...",
    "other names": "def search_many(self, queries, number=None, where=None): ...",
    "one required more": "def search_many(self, queries, top_k, filter, index): ...",
    "no method": "search_many = 5",
}


@pytest.fixture
def option(tmp_path, monkeypatch):
    """Writes an option of an allowed package; returns the function that composes with it."""
    (tmp_path / "ward_made.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("CDSFRAME_COMPONENTS", "ward_made")

    def write(group, code, name="Thing", **keys):
        (tmp_path / "ward_made.py").write_text(code, encoding="utf-8")
        sys.modules.pop("ward_made", None)
        file = tmp_path / "configs" / group / "mine.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({"_target_": f"ward_made.{name}", **keys}), encoding="utf-8")
        return lambda primary, *overrides: cdsframe.compose(primary, overrides, config_dir=tmp_path / "configs")

    yield write
    sys.modules.pop("ward_made", None)


@pytest.mark.parametrize("how", SIGNATURES)
def test_a_method_that_cannot_be_called_as_the_contract_does_is_refused(option, how):
    inherited = RETRIEVER.replace("Thing", "Base") + f"class Thing(Base):\n    {SIGNATURES[how]}\n"
    compose = option("retriever", inherited)
    said = "lacks search_many" if how == "no method" else r"its search_many\(.*\) cannot be called as search_many\(quer"
    with pytest.raises(ConfigError, match=rf"^retriever\._target_: ward_made.Thing is not a valid retriever: .*{said}"):
        compose("serve", "retriever=mine", "embedder=none")


@pytest.mark.parametrize(
    "method",
    [
        "def search_many(self, *arguments, **settings): ...",
        "def search_many(self, queries, top_k=4, filter=None, more=1): ...",
        "@staticmethod\n    def search_many(queries, top_k=None, filter=None): ...",
        "@classmethod\n    def search_many(cls, queries, top_k=None, filter=None): ...",
        "search_many = property(lambda self: len)",
    ],
)
def test_a_method_that_can_be_called_so_is_taken(option, method):
    compose = option("retriever", RETRIEVER.replace("Thing", "Base") + f"class Thing(Base):\n    {method}\n")
    assert compose("serve", "retriever=mine", "embedder=none").retriever.top_k == 4


def test_a_logger_without_methods_is_refused_before_a_training(option):
    compose = option("logger", "class Log:\n    def open(self): ...", name="Log")
    with pytest.raises(
        ConfigError, match=r"^logger\.mine\._target_: ward_made.Log is not a valid logger: it lacks clo"
    ):
        compose("train", "model=tiny", "+logger.mine={_target_: ward_made.Log}")


@pytest.mark.parametrize("key", ["data=mix +data@data.sources.bad=mine", "data=raft +data@data.source=mine"])
def test_a_data_set_within_another_one_is_held_to_the_contract(option, key):
    compose = option(
        "data",
        "class Thing:\n    scope = 'x'\n    removed = {}\n",
    )
    with pytest.raises(
        ConfigError, match=r"^data\.sources?(\.bad)?\._target_: .* not a valid data: it lacks questions"
    ):
        compose("train", "model=tiny", *key.split())
    compose = option("data", "class Thing:\n    def questions(self, split): return []\n")
    with pytest.raises(ConfigError, match="is not a valid data: it lacks scope, removed"):
        compose("train", "model=tiny", *key.split()).data  # noqa: B018


def test_an_expansion_is_a_retriever(option):
    compose = option("expansion", "class Thing:\n    def __init__(self, retriever): ...\n")
    with pytest.raises(ConfigError, match=r"^expansion\._target_: .* is not a valid expansion: it lacks search, sea"):
        compose("serve", "expansion=mine")
    compose = option("expansion", "def none(retriever): return 5", name="none")
    with pytest.raises(ConfigError, match=r"int is not a valid expansion: it lacks search, .*contracts\.Retriever"):
        compose("serve", "expansion=mine", "index=memory").retriever  # noqa: B018


def test_a_constructor_or_function_that_raises_is_one_sentence(option):
    compose = option("retriever", RETRIEVER + "    def __init__(self): {}['ward']\n")
    with pytest.raises(ConfigError, match=r"^ward_made.Thing cannot be built: 'ward'; correct the options, or fix"):
        compose("serve", "retriever=mine", "embedder=none").pipeline  # noqa: B018
    compose = option("expansion", "def none(retriever): raise ValueError", name="none")
    with pytest.raises(ConfigError, match="cannot be built: no reason given"):
        compose("serve", "expansion=mine", "index=memory").retriever  # noqa: B018


def test_a_corpus_yields_documents(option):
    code = "class Thing:\n    name = 'x'\n    def documents(self): yield 'a text'\n"
    system = option("corpus", code)("ingest", "corpus=mine", "index=memory", "embedder=none")
    with pytest.raises(InputError, match="the corpus x yields str objects; fix its documents"):
        system.run_job("ingestion")


@pytest.mark.parametrize(
    ("group", "primary", "said"),
    [
        ("evaluation", "evaluate", "returned int; it must return an object with text, value"),
        ("ingestion", "ingest", "returned int; it must return an object with metrics, text, score, failure"),
        ("training", "train", "returned NoneType; it must return a number"),
    ],
)
def test_a_job_returns_what_its_command_prints(option, group, primary, said):
    made = "None" if group == "training" else "5"
    system = option(group, f"def job(): return {made}", name="job")(primary, f"{group}=mine")
    with pytest.raises(CdsframeError, match=f"^{group}: ward_made.job {said}"):
        system.run_job(group)
    system = option(group, "def job(): raise KeyError('x')", name="job")(primary, f"{group}=mine")
    with pytest.raises(KeyError):
        system.run_job(group)  # a defect of a job keeps its traceback


def test_each_contract_is_public_and_each_group_without_one_is_a_job_or_prompt():
    from cdsframe import contracts
    from cdsframe.config.folders import groups

    assert {contract.__name__ for contract in CONTRACTS.values()} <= set(contracts.__all__)
    without = groups() - set(CONTRACTS) - {"paths", "experiment", "sweep"}
    assert without == {"prompt", "ingestion", "training", "evaluation", "serving", "optimization", "callbacks"}
    (lacking,) = contract_problems("contamination", object())
    assert lacking.endswith("it lacks screen (the contract is cdsframe.contracts.Contamination)")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", ["retriever=null"]), "^retriever=null: a group needs the name of an option; give one of bm25, "),
        (("serve", ["retriever=5"]), "^retriever=5: a group needs the name of an option"),
        (("serve", ["+paths=true"]), r"^\+paths=true: a group needs the name of an option; give one of default$"),
        (
            ("serve", ["~retriever"]),
            "^expansion needs retriever, which the configuration does not have; remove ~retriever",
        ),
        (("serve", ["~generator"]), "^serving needs generator, which .*; remove ~generator, choose"),
        (("train", ["~data"]), "^training needs data"),
        (("ask", ["retriever=gold"]), "^retriever needs data, .* or use a primary configuration with data$"),
        (("serve", 5), "overrides must be a list of strings"),
        (("serve", {"retriever": "bm25"}), "overrides must be a list of strings"),
        ((3,), "^3 is not a primary configuration; there are ingest, "),
        ((["serve"],), "is not a primary configuration"),
    ],
)
def test_composing_raises_configuration_errors_only(arguments, said):
    with pytest.raises(ConfigError, match=said):
        cdsframe.compose(*arguments)


def test_composing_takes_no_overrides_and_any_iterable_of_them():
    assert cdsframe.compose("serve", None).name == "default"
    assert cdsframe.compose("serve", (one for one in ["name=mine"])).name == "mine"
    with pytest.raises(ConfigError, match="config_dir must be the path of a folder, got 3"):
        cdsframe.compose("serve", config_dir=3)
    with pytest.raises(
        ConfigError, match="has no generator; the primary configuration lacks this group, or ~generator"
    ):
        cdsframe.compose("ask", ["~generator"]).generator  # noqa: B018


def test_an_option_that_is_no_name_is_one_sentence_of_a_command(tmp_path, capsys):
    assert exit_code(tmp_path, "retriever=5") == 2
    assert capsys.readouterr().err.startswith(
        "train: the configuration is refused: retriever=5: a group needs the name"
    )


def test_a_filter_is_public_and_the_system_has_the_fusion():
    assert cdsframe.Filter({"kind": "note"}) == {"kind": ["note"]}
    assert "fusion" in dir(cdsframe.System)
    assert {"calibration", "fusion", "pipeline"} <= set(dir(Composition))


def test_the_calibrators_of_the_package_fulfil_their_contract():
    from cdsframe import confidence

    names = [name for name in vars(cdsframe.Calibrator) if not name.startswith("_")]
    for fulfils in (confidence.NoCalibration(), confidence.Calibrator({}, {}, {}, 0.0)):
        assert all(hasattr(fulfils, name) for name in names)


@pytest.mark.parametrize("name", ["index", "retriever"])
def test_threads_share_one_component(monkeypatch, name):
    system = cdsframe.compose("serve", ["retriever=bm25", "embedder=none", "index=memory", "model=tiny"])
    built, original = [], Composition._built

    def slow(self, group):
        built.append(group)
        time.sleep(0.02)
        return original(self, group)

    monkeypatch.setattr(Composition, "_built", slow)
    found, start = [], threading.Barrier(8)

    def use():
        start.wait()
        found.append(getattr(system, name))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(one) for one in found}) == 1
    assert len(built) == len(set(built))
