"""Where configuration becomes objects: `check` refuses what is wrong, `build` makes components, `entry` runs a script.

The only module of the package, beside the entry points, that knows Hydra and sees a config.
"""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import os
import shutil
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cdsframe.errors import CdsframeError, ConfigError
from cdsframe.run import Run

log = logging.getLogger(__name__)

DEPENDENCIES = frozenset(
    [
        "adapter",
        "calibration",
        "chunking",
        "corpus",
        "data",
        "embedder",
        "fusion",
        "generator",
        "identity",
        "index",
        "lora",
        "logger",
        "model",
        "pipeline",
        "prompt",
        "quantization",
        "reranker",
        "retriever",
        "run",
        "tokenizer",
        "trainer",
        "training_data",
        "validation_data",
        "evaluation",
        "seed",
        "name",
    ]
)
"""Arguments that entry points hand over as objects; every other argument of a component stands in its YAML."""

_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""Whether the user asked for tracebacks (Hydra's own switch)."""

OmegaConf.register_new_resolver("uid", lambda: os.urandom(2).hex(), use_cache=True, replace=True)


# ------------------------------------------------------------------------------------------------ build


def locate(target: str) -> Any:
    """The object that a dotted path names. Raises ConfigError for anything outside `cdsframe.` or not there."""
    if not target.startswith("cdsframe."):
        raise ConfigError(
            f"the target {target} is outside cdsframe.; wrap it in a function of your own module in cdsframe"
        )
    module_name, _, attribute = target.rpartition(".")
    try:
        return getattr(import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name and not error.name.startswith("cdsframe"):
            raise ConfigError(f"the target {target} needs the package {error.name}, which is not installed") from None
        raise ConfigError(f"the target {target} does not exist: no module {error.name}") from None
    except AttributeError:
        near = get_close_matches(attribute, dir(import_module(module_name)), n=1)
        hint = f"; did you mean {module_name}.{near[0]}?" if near else ""
        raise ConfigError(f"the target {target} does not exist{hint}") from None


def build(node: DictConfig, /, **dependencies: Any) -> Any:
    """Calls the node's target with the node's keys and with those of the dependencies that it names.

    A dependency that the target needs and does not get is a TypeError (a forgotten wire, a defect of ours).
    """
    accepted = inspect.signature(locate(node["_target_"])).parameters
    offered = {name: value for name, value in dependencies.items() if name in accepted and name not in node}
    return instantiate(node, _partial_=True, _convert_="all")(**offered)


# ------------------------------------------------------------------------------------------------ check


def check(cfg: DictConfig) -> None:
    """Binds every node to its target's signature without building anything; raises ConfigError with all problems."""
    problems = [f"{key} is missing; give it as {key}=…" for key in map(str, cfg) if OmegaConf.is_missing(cfg, key)]
    problems += [problem for path, node in _nodes(cfg) for problem in _node_problems(path, node)]
    if not problems:
        problems = [problem for rule in RULES for problem in rule(cfg)]
    if problems:
        raise ConfigError(problems)


def _nodes(cfg: DictConfig, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every node that has a `_target_`, outermost first, with its config path."""
    if "_target_" in cfg:
        yield path, cfg
    for key in map(str, cfg):
        child = cfg._get_node(key)
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
            yield from _nodes(child, f"{path}.{key}" if path else key)


def _node_problems(path: str, node: DictConfig) -> list[str]:
    try:
        target = locate(str(node["_target_"]))
    except ConfigError as error:
        return [f"{path}._target_: {problem}" for problem in error.problems]
    parameters = inspect.signature(target).parameters
    keys = [str(key) for key in node if not str(key).startswith("_")]
    settings = [name for name in parameters if name in keys or name not in DEPENDENCIES]
    problems = []
    for key in keys:
        if key not in parameters:
            near = get_close_matches(key, settings, n=1)
            hint = f"did you mean {path}.{near[0]}?" if near else f"it takes {', '.join(settings) or 'no keys'}"
            problems.append(f"{path}.{key} is not an option of {node['_target_']}; {hint}")
    for name in settings:
        if name not in keys:
            if parameters[name].default is inspect.Parameter.empty:
                problems.append(f"{path}.{name} is missing; {node['_target_']} needs it")
            continue
        problems += _value_problems(f"{path}.{name}", node, name, target, parameters[name].annotation)
    values = {} if problems else _plain(node)
    if hasattr(target, "problems") and not problems:
        taken = inspect.signature(target.problems).parameters
        problems += target.problems(**{key: value for key, value in values.items() if key in taken})
    return problems


def _value_problems(path: str, node: DictConfig, key: str, target: Any, annotation: Any) -> list[str]:
    """Whether one value can be resolved and lies within the range that its annotation states."""
    from pydantic import TypeAdapter, ValidationError

    if OmegaConf.is_missing(node, key):
        return [f"{path} is missing; give it as {path}=…"]
    try:
        value = node[key]
    except OmegaConfBaseException as error:
        return [f"{path}: {str(error).splitlines()[0]}"]
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if annotation is inspect.Parameter.empty:
        return []
    if isinstance(annotation, str):
        annotation = eval(annotation, vars(sys.modules[target.__module__]), vars(typing))  # noqa: S307 (our own source)
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        return [_in_words(path, detail) for detail in error.errors()[:1]]
    return []


def _in_words(path: str, detail: Mapping[str, Any]) -> str:
    at = ".".join([path, *(str(part) for part in detail["loc"] if isinstance(part, int))])
    message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    message = message.replace("greater than or equal to", ">=").replace("less than or equal to", "<=")
    if detail["type"] == "value_error":
        return f"{at}: {message}"
    return f"{at} {message}, got {detail['input']!r}"


def _plain(node: DictConfig) -> dict[str, Any]:
    return typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


# Rules between groups: each returns the problems it sees. They read plain values only.


def _target(cfg: DictConfig, group: str) -> str:
    node = cfg.get(group)
    return str(node["_target_"]) if isinstance(node, DictConfig) and "_target_" in node else ""


def _chunk_fits_embedder(cfg: DictConfig) -> list[str]:
    size, limit = OmegaConf.select(cfg, "chunking.size"), OmegaConf.select(cfg, "embedder.max_tokens")
    if size is None or limit is None or size <= limit:
        return []
    return [
        f"chunking.size={size} is more than the {limit} tokens that embedder {cfg.embedder.name} reads, the rest would "
        f"be cut silently; use chunking.size={limit} or an embedder that reads more"
    ]


def _vectors_need_embedder(cfg: DictConfig) -> list[str]:
    needs = _target(cfg, "retriever").rpartition(".")[2] in ("Knn", "Hybrid")
    if needs and _target(cfg, "embedder").endswith(".NoEmbedder"):
        return ["the retriever searches vectors, and embedder=none makes none; use retriever=bm25 or embedder=minilm"]
    return []


def _all_weights_need_full_precision(cfg: DictConfig) -> list[str]:
    quantized = _target(cfg, "quantization").rpartition(".")[2] in ("Nf4", "Int8")
    if quantized and _target(cfg, "lora").endswith(".NoLora"):
        return ["lora=none trains all weights, which 4-bit and 8-bit weights do not allow; add quantization=none"]
    return []


def _adapter_exists(cfg: DictConfig) -> list[str]:
    adapter = cfg.get("adapter")
    if adapter is None or (Path(adapter) / "adapter_config.json").is_file():
        return []
    return [f"adapter: {adapter} is no adapter folder (no adapter_config.json in it); train one, or adapter=null"]


RULES: tuple[Callable[[DictConfig], list[str]], ...] = (
    _chunk_fits_embedder,
    _vectors_need_embedder,
    _all_weights_need_full_precision,
    _adapter_exists,
)


# ------------------------------------------------------------------------------------------------ entry points


def start_run(cfg: DictConfig) -> Run:
    """The folder of this job, as Hydra names it."""
    runtime = HydraConfig.get()
    multirun = runtime.mode is not None and runtime.mode.name == "MULTIRUN"
    folder = Path(runtime.runtime.output_dir)
    return Run(
        folder,
        task=runtime.job.name,
        config=_plain(cfg),
        config_yaml=OmegaConf.to_yaml(cfg, resolve=True),
        choices={group: str(c) for group, c in runtime.runtime.choices.items() if not group.startswith("hydra/")},
        group=Path(runtime.sweep.dir).name if multirun else folder.name,
        sweep_folder=Path(runtime.sweep.dir).absolute() if multirun else None,
    )


def entry(function: Callable[[DictConfig, Run], float | None]) -> Callable[[], None]:
    """Makes a script's `main`: Hydra composes, `check` refuses, the function works; users' errors print no traceback.

    Exit codes: 0 done, 1 failed (and Hydra's own override errors), 2 configuration refused, 130 interrupted.
    """
    script = Path(function.__code__.co_filename)
    name = script.stem

    @functools.wraps(function)
    def job(cfg: DictConfig) -> float | None:
        try:
            check(cfg)
            return function(cfg, start_run(cfg))
        except CdsframeError as error:
            _refuse(name, error)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            _refuse(name, CdsframeError(f"no space left on the disk that holds {error.filename or 'the outputs'}"))

    main = hydra.main(version_base="1.3", config_path=str(script.resolve().parent / "configs"), config_name=name)(job)

    @functools.wraps(function)
    def run() -> None:
        try:
            main()
        except CdsframeError as error:  # a job of a multirun: `_refuse` let it pass to mark that job as failed
            if _TRACEBACKS:
                raise
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.stderr.write(f"\n{name}: interrupted; what was complete before is kept\n")
            sys.exit(130)

    return run


def _refuse(name: str, error: CdsframeError) -> NoReturn:
    """Says what is wrong and ends this job, and only this job."""
    if _TRACEBACKS:
        raise error
    lines = str(error).splitlines()
    kind = "the configuration is refused" if isinstance(error, ConfigError) else "failed"
    text = f"{name}: {kind}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{name}: {kind}:", *lines])
    sys.stderr.write(text + "\n")
    runtime = HydraConfig.get()
    if isinstance(error, ConfigError):
        _remove_empty_run(Path(runtime.runtime.output_dir))
    if runtime.mode is not None and runtime.mode.name == "MULTIRUN":
        os.environ["HYDRA_FULL_ERROR"] = "1"  # lets Hydra hand the error to `run` instead of printing its frames
        raise error
    sys.exit(error.exit_code)


def _remove_empty_run(folder: Path) -> None:
    """Takes away the folder of a refused run, in which only Hydra has written."""
    if all(item.name in (".hydra", "config.yaml") or item.suffix == ".log" for item in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


class AfterEachJob(Callback):
    """A Hydra callback that calls a function with the multirun's folder after each of its jobs.

    After each, because Hydra does not call `on_multirun_end` when a job has failed: what a sweep leaves behind is
    written anew from disk every time.
    """

    def __init__(self, function: str) -> None:
        self._function = function

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """Hydra calls this; outside a multirun it does nothing."""
        if config.hydra.mode is not None and config.hydra.mode.name == "MULTIRUN":
            locate(self._function)(Path(config.hydra.sweep.dir))
