"""Makes a component from a config node. Checks nothing but where the target lies (see `cdsframe.config.check`)."""

from __future__ import annotations

import inspect
from collections import ChainMap
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from cdsframe.config.components import imported, require_allowed
from cdsframe.errors import ConfigError

DEPENDENCIES = frozenset({
    "adapter", "calibration", "chunking", "contamination", "context", "corpus", "data", "embedder", "fusion",
    "generator", "identities", "identity", "index", "lora", "logger", "model", "name", "pipeline", "prompt",
    "quantization", "reranker", "retriever", "run", "seed", "system", "trainer",
})  # fmt: skip
"""Arguments that a composition passes as objects; every other argument of a component is a key of its YAML."""


_RENAMED = {
    "cdsframe.corpus.beir.MedQuad": "cdsframe.corpus.beir.MedQuadPassages",
    "cdsframe.corpus.csv.Csv": "cdsframe.corpus.csv.CsvCorpus",
    "cdsframe.corpus.jsonl.Jsonl": "cdsframe.corpus.jsonl.JsonlCorpus",
    "cdsframe.data.jsonl.Jsonl": "cdsframe.data.jsonl.JsonlQuestions",
    "cdsframe.logger.Csv": "cdsframe.logger.CsvLogger",
}
"""Targets of earlier versions, which configurations of users may name -> their names now."""


def is_dependency(parameter: inspect.Parameter) -> bool:
    """Whether a composition passes this argument; a prompt's `system: str` is a text of its YAML."""
    return parameter.name in DEPENDENCIES and (parameter.name != "system" or parameter.annotation not in (str, "str"))


def locate(target: str) -> Any:
    """The object that a dotted path names.

    Raises ConfigError where it does not exist, or lies in a package that may not hold components.
    """
    target = _RENAMED.get(target, target)
    require_allowed(target)
    module_name, _, attribute = target.rpartition(".")
    if not module_name:
        raise ConfigError(f"the target {target} names no attribute of a module")
    module = imported(module_name, target)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        near = get_close_matches(attribute, dir(module), n=1)
        hint = f"; did you mean {module_name}.{near[0]}?" if near else ""
        raise ConfigError(f"the target {target} does not exist{hint}") from None
    if not callable(found):
        raise ConfigError(f"the target {target} is neither a class nor a function")
    return found


def build(node: DictConfig, system: Mapping[str, Any] | None = None, /, **dependencies: Any) -> Any:
    """Calls the node's target with the node's keys, and with the dependencies that its signature names.

    Nodes with a target below it are built first, with the same dependencies: a mix receives its sources.

    Args:
        system: more dependencies by name; only those that a signature names are looked up.

    Raises TypeError where a target needs a dependency that is not given: a defect of the caller.
    """
    given: Mapping[str, Any] = {} if system is None else system
    return _made(OmegaConf.to_container(node, resolve=True), ChainMap(dependencies, cast(dict[str, Any], given)))


def examine(cfg: DictConfig, model: Any) -> None:
    """Examines the model's chat template where a component that the configuration names talks with the model.

    Raises ConfigError where it cannot be used. Some jobs make conversations of their own (a training that takes a
    `prompt`, an exam); the others ask the generator, which may answer with the `model`.
    """
    prompts = "training" in cfg and "prompt" in inspect.signature(locate(cfg.training["_target_"])).parameters
    prompts = prompts or declared(cfg, "evaluation", "makes_prompts", False)
    asks = "evaluation" not in cfg or declared(cfg, "evaluation", "asks_generator", True)
    if prompts or (asks and declared(cfg, "generator", "uses_model", False)):
        model.examine()


def declared(cfg: DictConfig, group: str, fact: str, default: Any) -> Any:
    """What the component of a group declares (see `cdsframe.contracts.declarations`); the default where it does not."""
    node = cfg.get(group)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        return default
    return getattr(locate(str(node["_target_"])), fact, default)


def _made(value: Any, dependencies: Mapping[str, Any]) -> Any:
    """The value with every mapping that has a target replaced by what its target makes of it."""
    if not isinstance(value, dict):
        return value
    settings = {key: _made(inner, dependencies) for key, inner in value.items()}
    if "_target_" not in settings:
        return settings
    target = locate(settings.pop("_target_"))
    accepted = inspect.signature(target).parameters
    wanted = [name for name, parameter in accepted.items() if name not in settings and is_dependency(parameter)]
    offered = {name: dependencies[name] for name in wanted if name in dependencies}
    return target(**settings, **offered)
