"""Composition: every option composes and binds, and what is wrong is said at once, by path, before any work."""

import os
import re
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import cdsframe
from cdsframe.cli.entry import entry, without_environment
from cdsframe.config import build, check
from cdsframe.config.moved_keys import MOVED
from cdsframe.config.open_keys import with_plus
from cdsframe.errors import ConfigError
from tests.children import run_child

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
PRIMARIES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
GROUPS = {folder.name: sorted(f.stem for f in folder.glob("*.yaml")) for folder in CONFIGS.iterdir() if folder.is_dir()}

_NEEDS = {
    "ingestion=purge": "ingestion.documents=[d]",
    "corpus=jsonl": "corpus.path={file}", "corpus=beir": "corpus.path={file}", "corpus=folder": "corpus.path={folder}",
    "corpus=csv": "corpus.path={file} corpus.fields.text=text", "corpus=fhir": "corpus.path={folder}",
    "corpus=medquad": "paths.data={medquad}", "data=medquad": "paths.data={medquad}",
    "data=treatments": "paths.data={medquad}", "data=symptoms": "paths.data={medquad}",
    "data=mts_dialog": "paths.data={medquad}", "data=aci_bench": "paths.data={medquad}",
    "data=raft": "+data@data.source=hospital", "data=mix": "+data@data.sources.one=hospital",
    "data=jsonl": "data.path=[{file}] data.scope=test", "data=hub": "data.path=a/set data.scope=test",
    "data=file": "data.path={file} data.evidence=e",
    "evaluation=compare": "evaluation.runs=[{folder},{folder}]",
    "evaluation=methods": "evaluation.methods={{a:[{folder},{folder}],b:[{folder},{folder}]}}",
    "evaluation=score": "evaluation.runs=[{folder}]",
    "evaluation=factorial": "evaluation.runs=[{folder},{folder}]",
    "evaluation=paper": "evaluation.runs=[{folder}]",
    "evaluation=retrieval": "", "lora=none": "quantization=none", "generator=openai": "",
    "embedder=none": "retriever=bm25", "training=merge": "training.folder={folder}",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("CDSFRAME_DATA", raising=False)


@pytest.fixture(autouse=True, scope="module")
def _hydra():
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


def composed(primary, *overrides):
    return compose(primary, list(overrides))


def problems(primary, *overrides):
    with pytest.raises(ConfigError) as refused:
        check(composed(primary, *with_plus(overrides, ROOT / f"configs/{primary}.yaml")))
    return refused.value.problems


def _required(primary):
    return ["question=x"] if primary == "ask" else []


@pytest.mark.parametrize("primary", PRIMARIES)
def test_a_primary_composes_and_binds(primary):
    check(composed(primary, *_required(primary)))


def _options():
    for primary in PRIMARIES:
        text = (CONFIGS / f"{primary}.yaml").read_text(encoding="utf-8")
        for group, options in sorted(GROUPS.items()):
            if re.search(rf"- (optional )?{group}:", text) and group not in ("paths", "logger", "experiment", "sweep"):
                yield from (
                    pytest.param(primary, group, option, id=f"{primary}-{group}-{option}") for option in options
                )


@pytest.mark.parametrize(("primary", "group", "option"), list(_options()))
def test_every_option_composes_and_binds_wherever_its_group_is(primary, group, option, tmp_path):
    file = tmp_path / "file.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    medquad = tmp_path / "data"
    (medquad / "medquad").mkdir(parents=True)
    (medquad / "medquad" / "retrieval_corpus.jsonl.gz").touch()
    (medquad / "summarisation").mkdir()
    text = (CONFIGS / f"{primary}.yaml").read_text(encoding="utf-8")
    needs = _NEEDS.get(f"{group}={option}", "").format(file=file, folder=tmp_path, medquad=medquad).split()
    groups = [need.lstrip("+").replace("@", ".").replace("=", ".").partition(".")[0] for need in needs]
    needs = [n for n, named in zip(needs, groups, strict=True) if f"- {named}:" in text or named == "paths"]
    cfg = composed(primary, f"{group}={option}", *needs, *_required(primary))
    if group == "embedder" and option not in ("minilm", "none"):
        assert cfg.embedder.max_tokens >= 256
    if option == "gold" and "- data:" not in text:
        with pytest.raises(ConfigError, match=r"^retriever needs data, which the configuration does not have"):
            check(cfg)
        return
    check(cfg)


def test_every_option_is_in_a_primary():
    used = {(p.values[1], p.values[2]) for p in _options()}
    there = {
        (g, o) for g, options in GROUPS.items() for o in options if g not in ("paths", "logger", "experiment", "sweep")
    }
    assert used == there


@pytest.mark.parametrize("choice", ["csv", "wandb", "none", "[csv]", "[csv,wandb]", "[none]"])
def test_loggers_compose(choice):
    cfg = composed("train", f"logger={choice}")
    check(cfg)
    assert set(cfg.logger) == set(choice.strip("[]").split(","))


@pytest.mark.parametrize(
    ("primary", "overrides", "said"),
    [
        ("train", ["lora.r=-1"], "lora.r must be >= 1, got -1"),
        ("train", ["lora.r=abc"], "lora.r must be a valid integer"),
        ("train", ["lora.lora_dropout=1.0"], "lora.lora_dropout must be less than 1, got 1.0"),
        ("train", ["+trainer.gradient_clip_val=1"], "cdsframe.trainer.LightningTrainer; use optimization.clip_norm"),
        ("train", ["+training.patience=3"], "cdsframe.training.sft.sft; use callbacks.early_stopping.patience"),
        ("train", ["+lora.rr=16"], "lora.rr is not an option of cdsframe.lora.Lora; did you mean lora.r?"),
        ("train", ["lora.r=???"], "lora.r is missing; give it as lora.r=…"),
        ("train", ["~lora.r"], "lora.r is missing; cdsframe.lora.Lora needs it"),
        ("train", ["lora=none"], "add quantization=none"),
        ("train", ["optimization.learning_rate=0"], "optimization.learning_rate must be greater than 0, got 0"),
        ("train", ["optimization.optimizer=adam"], "optimization.optimizer must be 'auto', 'adamw', 'paged_adamw'"),
        ("train", ["chunking.overlap=256"], "chunking.overlap must be less than half of chunking.size=256"),
        ("train", ["chunking.size=512"], "chunking.size=512 is more than the 256 tokens that the embedder"),
        ("train", ["data=medquad"], "data=medquad needs a data folder; set CDSFRAME_DATA"),
        (
            "train",
            ["data=medquad", "paths.data=no"],
            "data=medquad: no contains neither medquad/ nor MedQuAD's folders",
        ),
        ("train", ["model._target_=os.system"], "outside cdsframe;"),
        ("train", ["model._target_=cdsframe.model.LanguageModl"], "did you mean cdsframe.model.LanguageModel?"),
        ("train", ["model._target_=cdsframe.nothing.X"], "the target cdsframe.nothing.X is not a component"),
        ("train", ["embedder=none"], "use retriever=bm25 or embedder=minilm"),
        ("evaluate", ["expansion=feedback", "retriever=knn"], "use retriever=hybrid or bm25"),
        ("evaluate", ["expansion=hyde", "retriever=bm25"], "use retriever=hybrid or knn"),
        ("ask", ["question=x", "expansion=hyde", "generator=none"], "generator=none generates none"),
        ("ask", ["question=x", "expansion=abbreviations", "expansion.path=no.tsv"], "expansion.path: no file no.tsv"),
        ("evaluate", ["expansion=hyde", "expansion.instruction=Write"], "must contain the variable {question}"),
        ("evaluate", ["expansion=feedback", "expansion.num_passages=100"], "must be < expansion.num_background=100"),
        ("evaluate", ["reranker=cross_encoder", "reranker.depth=200"], "must be <= retriever.num_candidates=100"),
        ("evaluate", ["context.mmr_by=vectors"], "while context.mmr_lambda is null"),
        ("evaluate", ["context.near_duplicate=0"], "context.near_duplicate must be greater than 0, got 0"),
        ("evaluate", ["context.versions=newest"], "context.versions must be 'as_ranked', 'newest_first' or"),
        ("train", ["prompt.grounded='{question} {secret}'"], "has no variable {secret}"),
        ("ingest", ["corpus=folder", "corpus.path=no/such/folder"], "corpus.path: no folder no/such/folder"),
        ("ingest", ["corpus=jsonl", "corpus.path=no/such.jsonl"], "corpus.path: no file no/such.jsonl"),
        ("ingest", ["corpus=jsonl"], "corpus.path is missing"),
        ("evaluate", ["retriever.top_k=abc"], "retriever.top_k must be a valid integer"),
        ("evaluate", ["retriever.top_k=0"], "retriever.top_k must be >= 1, got 0"),
        ("evaluate", ["adapter=no/such/adapter"], "adapter: no/such/adapter is not an adapter's folder"),
        ("ask", [], "question is missing; give it as question=…"),
        ("ask", ["question=''"], "question"),
        ("ask", ["question=x", "filter.colour=red"], "filter.colour names no metadata field"),
        (
            "ask",
            ["question=x", "filter.kind=5"],
            "filter.kind must be a valid string, got 5; put a number that is a text",
        ),
        ("ask", ["question=x", "filter.kind=[a,5]"], "filter.kind.1 must be a valid string, got 5"),
        (
            "ingest",
            ["corpus=csv", "corpus.path=pyproject.toml", "corpus.fields.text=Text", "corpus.fields.tilte=T"],
            "corpus.fields.tilte names no metadata field of the documents; did you mean title?",
        ),
        ("ingest", ["corpus.fields.text=Text"], "corpus.fields is not an option of cdsframe.corpus.hospital.hospital"),
        (
            "evaluate",
            ["reranker._target_=''"],
            "reranker._target_: the target '' is not a dotted path; expected module",
        ),
        ("evaluate", ["reranker._target_=null"], "is not a dotted path"),
        ("evaluate", ["reranker._target_='my package.X'"], "is not a dotted path"),
        (
            "evaluate",
            ["+reranker.steps=[{_target_:os.mkdir}]"],
            "reranker.steps is a list with a _target_, which is not",
        ),
        ("evaluate", ["~reranker._target_"], "reranker has no _target_; give the option's file"),
        ("ask", ["question=x", "filter=foo"], "filter"),
        (
            "ask",
            ["question=x", "filter.kind=''"],
            "filter: kind is empty; give filter.kind a value or a list of values",
        ),
        ("ask", ["question=x", "filter.kind=[]"], "filter: kind is empty"),
        ("ask", ["question=x", "filter.patient=['P-1',' ']"], "filter: patient is empty"),
        (
            "ingest",
            ["ingestion.add=true", "ingestion.replace=true"],
            "ingestion.add and ingestion.replace exclude each",
        ),
        ("ingest", ["ingestion=watch", "ingestion.add=true", "ingestion.replace=true"], "exclude each other"),
        ("ingest", ["ingestion.add=true", "ingestion.num_shards=2"], "set ingestion.num_shards=1"),
        ("ingest", ["corpus.name=''"], "corpus.name"),
        ("ingest", ["corpus=medquad", "corpus.name=' '"], "corpus.name"),
        (
            "ask",
            ["question=x", "filter.departmnt=Cardiology"],
            "filter.departmnt names no metadata field of the documents; did you mean department?",
        ),
        ("ask", ["question=x", "calibration=nope"], "calibration: no file nope"),
        ("train", ["seed=foo"], "seed must be a valid integer"),
        ("train", ["seed=-5"], "seed must be >= 0, got -5"),
        ("train", ["name=''"], "name"),
        (
            "train",
            ["name=../up"],
            "name: '../up' cannot be a folder's name; use at most 100 letters, digits, _ . and -",
        ),
        ("train", [f"name={'n' * 101}"], "...' cannot be a folder's name"),
        ("train", ["+nmae=x"], "nmae is neither a known key nor a group with an option; did you mean name?"),
        ("evaluate", ["+reranker._args_=[1]"], "reranker._args_ is not an option"),
        ("evaluate", ["+reranker._args_=[{_target_:os.mkdir,path:x}]"], "reranker._args_"),
        ("evaluate", ["+reranker._partial_=true"], "reranker._partial_ is not an option"),
        ("evaluate", ["reranker._target_=cdsframe.reranker.none.annotations"], "neither a class nor a function"),
        ("evaluate", ["+model.adapter=/x"], "model.adapter is a component of the system and cannot be set here"),
        ("evaluate", ["prompt.refusal_pattern='('"], "prompt.refusal_pattern is no regular expression"),
        ("evaluate", ["prompt.refusal_pattern=no"], "prompt.refusal_pattern does not match prompt.refusal"),
        ("train", ["trainer.max_steps=0"], "trainer.max_steps must be >= 1, got 0"),
        ("train", ["data=file"], "data.path is missing; give it as data.path=…"),
        ("train", ["data=file", "data.path=no.parquet"], "data.path: no file or folder no.parquet"),
        ("train", ["data=file", "data.path=[configs,no.csv]"], "data.path: no file or folder no.csv"),
        ("train", ["data=file", "data.path=[]"], "data.path: names no file"),
        ("train", ["data=file", "data.path={trian:configs}"], "trian is not a split; did you mean train?"),
        (
            "train",
            ["data=file", "data.path={train:configs}", "data.split=fold"],
            "data.path maps splits to files, and data.split names a column",
        ),
        ("train", ["data=file", "data.path=configs"], "data.evidence=null: training with passages needs each"),
        ("train", ["data=file", "data.path=configs", "data.test_share=0.5"], "data.test_share must be less than 0.5"),
    ],
)
def test_what_is_wrong_is_said_by_its_path(primary, overrides, said):
    assert said in "\n".join(problems(primary, *overrides))


def test_all_problems_are_said_at_once():
    found = problems(
        "train", "lora.r=-1", "training.batch_size=0", "+model.nmae=x", "retriever.top_k=abc", "trainer.max_steps=-7"
    )
    assert len(found) == 5


def test_a_users_own_configs_compose(tmp_path):
    (tmp_path / "lora").mkdir()
    own = "_target_: cdsframe.lora.Lora\nr: 4\nscale: 1.0\nlora_dropout: 0.0\ntarget_modules: [q_proj]\n"
    (tmp_path / "lora" / "mine.yaml").write_text(own, encoding="utf-8")
    done = _run("train.py", "--config-dir", str(tmp_path), "lora=mine", "--cfg", "job")
    assert done.returncode == 0
    assert "r: 4" in done.stdout


def test_what_comes_from_the_environment_is_not_written_down(monkeypatch):
    monkeypatch.setenv("CDSFRAME_TEST_SECRET", "hunter2")
    cfg = OmegaConf.create(
        {"a": {"key": "${oc.env:CDSFRAME_TEST_SECRET}", "b": ["${a.key}/x", 1]}, "c": "${a}", "d": "${a.b}", "e": 0.1}
    )
    shown = without_environment(cfg)
    assert "hunter2" not in str(shown)
    assert shown["a"] == {"key": "${oc.env:CDSFRAME_TEST_SECRET}", "b": ["${a.key}/x", 1]}
    assert shown["e"] == 0.1


def test_what_only_looks_like_a_value_of_the_environment_is_written_down(monkeypatch):
    monkeypatch.setenv("CDSFRAME_TEST_DATA", "/data")
    text = """
    data: ${oc.env:CDSFRAME_TEST_DATA}
    outputs: /data/out
    adapters: ${outputs}/adapters
    file: ${either:null,${data}}/file
    node: ${other}
    other: {inner: "${data}", none: null, list: ["${outputs}"], whole: "${oc.decode:'[${data}]'}"}
    """
    shown = without_environment(OmegaConf.create(text))
    other = {"inner": "${data}", "none": None, "list": ["/data/out"], "whole": "${oc.decode:'[${data}]'}"}
    assert shown == {
        "data": "${oc.env:CDSFRAME_TEST_DATA}",
        "outputs": "/data/out",
        "adapters": "/data/out/adapters",
        "file": "${either:null,${data}}/file",
        "node": other,
        "other": other,
    }


def test_build_gives_a_component_what_it_names_and_no_more():
    cfg = OmegaConf.create({"_target_": "cdsframe.retriever.flat.Bm25", "top_k": 2, "num_candidates": 10})
    assert build(cfg, index=object(), embedder=object(), fusion=object()).top_k == 2
    with pytest.raises(TypeError, match="index"):
        build(cfg, embedder=object())


def _run(*arguments, cwd=ROOT, **environment):
    env = {**os.environ, **environment}
    return run_child([sys.executable, ROOT / arguments[0], *arguments[1:]], cwd=cwd, env=env)


def _cpu_seconds(*arguments, cwd):
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = _run(*arguments, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_refused_config_is_one_message_exit_2_and_leaves_nothing(tmp_path):
    done, seconds = _cpu_seconds("train.py", "lora.r=-1", "retriever.top_k=abc", cwd=tmp_path)
    assert done.returncode == 2
    assert "lora.r must be >= 1, got -1" in done.stderr
    assert "retriever.top_k" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.yaml")), "no run folder is left behind"
    assert seconds < 10, f"heavy imports before the check: {seconds:.1f} CPU-seconds"


def test_hydras_own_errors_keep_their_text_and_exit_1(tmp_path):
    done = _run("train.py", "lora=all_liner", cwd=tmp_path)
    assert done.returncode == 1
    assert "all_linear" in done.stderr, "the options there are"
    done = _run("train.py", "lora.rank=8", cwd=tmp_path)
    assert done.returncode == 1
    assert "lora.rank" in done.stderr


@pytest.mark.parametrize(
    ("override", "fix"), [("reranker=null", "give reranker=none"), ("index=memory,null", "give one of elasticsearch")]
)
def test_a_group_that_is_null_is_refused_in_words(override, fix, tmp_path):
    done = _run("evaluate.py", override, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{override.partition('=')[0]}=null: a group needs an option; {fix}" in done.stderr
    assert "Traceback" not in done.stderr


def test_in_a_multirun_a_refused_job_does_not_stop_the_others(tmp_path):
    done = _run("train.py", "-m", "lora.r=-1,-2", cwd=tmp_path)
    assert done.returncode == 2
    assert "got -1" in done.stderr
    assert "got -2" in done.stderr
    assert "Traceback" not in done.stderr


def test_outputs_that_cannot_be_written_are_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    done = _run("ingest.py", "paths.outputs=file", cwd=tmp_path)
    assert done.returncode == 1
    assert "a folder was expected and a file found" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_traceback_is_there_for_those_who_ask(tmp_path):
    assert "Traceback" in _run("train.py", "lora.r=-1", cwd=tmp_path, HYDRA_FULL_ERROR="1").stderr


@pytest.mark.parametrize("primary", PRIMARIES)
def test_help_and_cfg_job(primary, tmp_path):
    helped = _run(f"{primary}.py", "--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert "Examples:" in helped.stdout
    shown = _run(f"{primary}.py", "--cfg", "job", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "_target_: cdsframe." in shown.stdout


@pytest.mark.parametrize(
    ("given", "heard"),
    [
        *((text, text) for text in (
            "What is the patient's dose?", "fever, cough and rash", "dose (mg)?", "is 5 > 3?", "norovirus & ward",
            "Fièvre", "μg", "one\ntwo", "${oc.env:HOME}", "\\${x}", "[a", "{b: c}", "a=b", "'Sepsis' or 'SIRS'?", "5",
            "null", "a\\", '"',
        )),
        ("'a, b'", "a, b"), ('"a, b"', "a, b"), ("'the patient\\'s ${x}'", "the patient's ${x}"),
    ],
)  # fmt: skip
def test_a_question_is_plain_text_that_leaves_nothing_on_disk(given, heard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ask.py", f"question={given}", "generator=none"])
    monkeypatch.setattr(GlobalHydra.instance(), "hydra", None)  # the module's own is back after this test
    heard_of = []
    room = {"heard_of": heard_of, "entry": entry}
    code = "@entry\ndef main(system):\n    heard_of.append(system.cfg.question)"
    exec(compile(code, str(ROOT / "ask.py"), "exec"), room)
    room["main"]()
    assert heard_of == [heard]
    assert list(tmp_path.rglob("*")) == []


def test_a_refused_question_is_not_repeated(tmp_path):
    done = _run("ask.py", "question=Wexcombe's dose?", "filter.departmnt=x", cwd=tmp_path)
    assert (done.returncode, "did you mean department?" in done.stderr) == (2, True)
    done = _run("ask.py", "question=Wexcombe's dose?", "filter.department=[5]", cwd=tmp_path)
    assert (done.returncode, "the configuration is refused" in done.stderr) == (2, True)
    assert "Wexcombe" not in done.stdout + done.stderr
    assert "Error executing" not in done.stderr
    assert list(tmp_path.rglob("*")) == []


def test_targets_of_earlier_versions_are_found_under_their_new_names():
    from cdsframe.cli.multirun import AfterEachJob
    from cdsframe.config.build import _RENAMED, locate

    for old, new in _RENAMED.items():
        assert locate(old) is locate(new)
    from cdsframe import config

    assert config.AfterEachJob is AfterEachJob, "Hydra instantiates its callbacks by this name"


@pytest.mark.parametrize("key", sorted(MOVED))
def test_a_key_of_an_earlier_version_is_refused_with_the_key_to_use(key):
    with pytest.raises(ConfigError, match=re.escape(f"\nuse {MOVED[key]}")):
        cdsframe.compose("train", [f"{key}=1"])


def test_any_argument_of_lightnings_trainer_can_be_set():
    cfg = composed("train", *with_plus(["trainer.options.detect_anomaly=true"], ROOT / "configs/train.yaml"))
    check(cfg)
    assert cfg.trainer.options == {"detect_anomaly": True}
