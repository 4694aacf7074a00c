"""The house's order: who imports whom, what stays lazy, and that options and signatures are each other's mirror."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cdsframe.config import locate
from cdsframe.config.build import is_dependency

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cdsframe"
CONFIGS = ROOT / "configs"

LAYERS = [
    {
        "types", "metadata", "contracts", "errors", "text", "artifacts", "chat", "encoder", "fhir", "machine",
        "filters", "prompt",
    },
    {
        "model", "quantization", "lora", "embedder", "chunking", "corpus", "index", "retriever", "fusion", "reranker",
        "expansion", "context", "generator", "data", "contamination", "trainer", "logger", "optimization", "callbacks",
        "citations", "confidence",
    },
    {"pipeline", "ingestion", "training"},
    {"serving", "evaluation"},
    {"config"},
    {"cli"},
    {"testing"},
]  # fmt: skip
"""A module may import its own lower layers; a component never imports another component, but see the exceptions."""

ALLOWED = {("confidence", "citations"), ("config", "cli")}
"""`config` has an alias of a callback's old place, looked up when it is asked for."""

HEAVY = {
    "torch", "transformers", "peft", "bitsandbytes", "lightning", "datasets", "sentence_transformers", "lancedb",
    "pyarrow", "lm_eval", "wandb", "fastapi", "uvicorn", "matplotlib", "scipy", "sklearn", "pdfplumber", "trafilatura",
    "ir_measures", "numpy", "docx", "fhir", "charset_normalizer", "openvino", "onnxruntime", "onnx", "tokenizers",
}  # fmt: skip

MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__main__.py")
OPTIONS = sorted(
    path
    for path in CONFIGS.glob("*/*.yaml")
    if path.parent.name not in ("paths", "experiment", "sweep")
    and set(yaml.safe_load(path.read_text(encoding="utf-8"))) != {"defaults"}  # chooses other options of its group
)


def _group(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _layer(group: str) -> int:
    return next(n for n, groups in enumerate(LAYERS) if group in groups)


def _imports(path: Path) -> set[str]:
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    only_types = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if node in only_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize(
    "path", [p for p in MODULES if _group(p) != "__init__"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_modules_import_downwards(path):
    group = _group(path)
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] != "cdsframe" or len(parts) < 2 or parts[1] in ("__version__", group):
            continue
        other = parts[1]
        if (group, other) in ALLOWED:
            continue
        lower = _layer(other) < _layer(group) or _layer(other) == _layer(group) == 0
        assert lower, f"{group} (layer {_layer(group)}) imports {other} (layer {_layer(other)})"


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if _group(p) != "corpus" and p.name not in ("service.py", "loading.py")],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_message_holds_the_name_of_an_errors_class(path):
    """The user cannot act on `TypeError`. A defect's log line has the class; `loading` looks for patterns in it."""
    source = path.read_text(encoding="utf-8")
    assert not re.search(
        r"type\((error|e|failure|problem|exception)\)\.__(name|qualname)__|__class__\.__name__", source
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_hydra_and_wandb_have_one_room_each(path):
    roots = {name.split(".")[0] for name in _imports(path)}
    assert not roots & {"hydra", "omegaconf"} or _group(path) in ("config", "cli")
    assert "wandb" not in roots or _group(path) == "logger"


def test_importing_every_target_stays_light():
    """In one fresh process: all modules that options name, and what they pulled in."""
    modules = sorted({yaml.safe_load(p.read_text(encoding="utf-8"))["_target_"].rpartition(".")[0] for p in OPTIONS})
    code = f"import sys\nfor m in {modules}: __import__(m)\nprint(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_an_option_mirrors_its_targets_signature(path):
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    target = node["_target_"]
    assert target.split(".")[1] == path.parent.name, "the target lives in the module of its group"
    parameters = inspect.signature(locate(target)).parameters.values()
    assert all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters)
    keys = {key for key in node if not key.startswith("_")}
    settings = [p for p in parameters if p.name in keys or not is_dependency(p)]
    assert keys == {p.name for p in settings}
    for parameter in settings:
        assert parameter.default is inspect.Parameter.empty, f"{parameter.name} has a default: its value is the YAML's"
        assert parameter.annotation is not inspect.Parameter.empty, f"{parameter.name} has no annotation"
    for parameter in parameters:
        if parameter not in settings:
            assert parameter.default is inspect.Parameter.empty, f"the dependency {parameter.name} has a default"


def test_every_group_is_a_module():
    rooms = {"paths", "experiment", "sweep"}
    groups = {folder.name for folder in CONFIGS.iterdir() if folder.is_dir() and any(folder.iterdir())}
    for group in groups - rooms:
        assert importlib.import_module(f"cdsframe.{group}").__doc__, f"the room {group} says what it is for"


def test_entry_points_are_short():
    for name in ("ingest", "train", "evaluate", "serve", "ask"):
        code = (ROOT / f"{name}.py").read_text(encoding="utf-8").splitlines()
        assert len(code) <= 61, f"{name}.py has {len(code)} lines"


def test_no_print_in_the_package():
    for path in MODULES:
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path


def test_no_class_name_stands_for_two_things():
    """A contract may have the name of the class that fulfils it."""
    found = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and _group(path) != "contracts":
                found.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_benchmark_imports_what_exists(path):
    """Without running it: a benchmark is run by hand, and a module that moved would only be missed then."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cdsframe"):
            place = ROOT.joinpath(*node.module.split("."))
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            assert file.is_file(), node.module
            source = file.read_text(encoding="utf-8")
            for name in (alias.name for alias in node.names):
                submodule = place / name if (place / name).is_dir() else place / f"{name}.py"
                assert submodule.exists() or re.search(rf"\b{name}\b", source), f"{node.module}.{name}"
