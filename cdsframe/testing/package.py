"""Checks the configuration files of a component package with the rules of cdsframe's own tests. Builds no component."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from cdsframe.config.build import is_dependency, locate
from cdsframe.config.components import VARIABLE, config_folders
from cdsframe.config.contract import contract_problems
from cdsframe.config.folders import groups
from cdsframe.errors import near_miss

HEAVY = frozenset({
    "torch", "transformers", "peft", "bitsandbytes", "lightning", "datasets", "sentence_transformers", "lancedb",
    "pyarrow", "lm_eval", "wandb", "fastapi", "uvicorn", "matplotlib", "scipy", "sklearn", "pdfplumber", "numpy",
})  # fmt: skip
"""Packages with slow imports: components must import them inside functions."""


def check_package(name: str) -> None:
    """Asserts that each option in the package's folder `configs` matches its target.

    The YAML keys are exactly the target's parameters except dependencies; no parameter has a default or lacks an
    annotation; the target has the methods of its group's contract; importing its module imports no heavy library.

    Names the package in CDSFRAME_COMPONENTS; if a check fails, the variable keeps its former value.
    """
    former = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join(dict.fromkeys(filter(None, [*(former or "").split(","), name])))
    try:
        _check_options(name)
    except BaseException:
        os.environ.pop(VARIABLE)
        if former is not None:
            os.environ[VARIABLE] = former
        raise


def _check_options(name: str) -> None:
    folder = config_folders().get(name, Path(name) / "configs")
    options = sorted(path for path in folder.glob("*/*.yaml") if path.parent.name not in ("experiment", "sweep"))
    assert options, f"{folder} contains no option; expected files GROUP/OPTION.yaml"
    for path in options:
        group = path.parent.name
        assert group in groups(), f"{path}: {group} is not a config group; {near_miss(group, sorted(groups()))}"
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert isinstance(node, dict) and "_target_" in node, f"{path} has no _target_"  # noqa: PT018
        _check_signature(path, node)
        assert not (problems := contract_problems(group, locate(node["_target_"]))), f"{path}: {'; '.join(problems)}"
        _check_imports(str(node["_target_"]).rpartition(".")[0])


def _check_signature(path: Path, node: dict[str, Any]) -> None:
    parameters = inspect.signature(locate(node["_target_"])).parameters.values()
    keys = {key for key in node if not key.startswith("_")}
    settings = {p.name for p in parameters if p.name in keys or not is_dependency(p)}
    assert keys == settings, f"{path}: the keys {sorted(keys)} do not match the parameters {sorted(settings)}"
    for parameter in parameters:
        where = f"{path}: the parameter {parameter.name}"
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, (
            f"{where} accepts any key; list the parameters instead of **{parameter.name}"
        )
        assert parameter.default is inspect.Parameter.empty, f"{where} has a default; move its value to the YAML"
        assert parameter.annotation is not inspect.Parameter.empty, f"{where} has no annotation; annotate it"


def _check_imports(module: str) -> None:
    assert all(part.isidentifier() for part in module.split(".")), f"{module!r} is not a module's name"
    code = f"import sys, {module}; print(*sorted({set(HEAVY)} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)  # noqa: S603
    assert done.returncode == 0, f"{module} cannot be imported alone in a new process:\n{done.stderr.strip()}"
    assert not done.stdout.split(), (
        f"importing {module} also imports {done.stdout.strip()}; import that inside a function"
    )
