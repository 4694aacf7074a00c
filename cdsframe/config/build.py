"""Builds a component from a config node. Checks only that the target is a component; `check` checks the rest."""

from __future__ import annotations

import inspect
import re
from collections import ChainMap
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from cdsframe.config.components import imported, require_allowed
from cdsframe.config.contract import CONTRACTS, contract_problems
from cdsframe.config.folders import built_in_targets, groups
from cdsframe.errors import CdsframeError, ConfigError, named

DEPENDENCIES = frozenset({
    "adapter", "calibration", "callbacks", "chunking", "contamination", "context", "corpus", "data", "embedder",
    "fusion", "generator", "identities", "identity", "index", "lora", "logger", "metadata_fields", "model", "name",
    "optimization", "pipeline", "prompt", "quantization", "reranker", "retriever", "run", "seed", "system", "trainer",
})  # fmt: skip
"""Argument names that a composition passes as objects. Every other argument of a component is a key of its YAML."""


_RENAMED = {
    "cdsframe.corpus.beir.MedQuad": "cdsframe.corpus.beir.MedQuadPassages",
    "cdsframe.corpus.csv.Csv": "cdsframe.corpus.csv.CsvCorpus",
    "cdsframe.corpus.jsonl.Jsonl": "cdsframe.corpus.jsonl.JsonlCorpus",
    "cdsframe.data.jsonl.Jsonl": "cdsframe.data.jsonl.JsonlQuestions",
    "cdsframe.logger.Csv": "cdsframe.logger.CsvLogger",
}
"""Former target, which users' configurations may still name -> current target."""


def is_dependency(parameter: inspect.Parameter) -> bool:
    """Whether the argument is another component, which `Composition` passes, and not a setting from YAML.

    An argument `system: str` is a setting (the system message of a prompt).
    """
    return parameter.name in DEPENDENCIES and (parameter.name != "system" or parameter.annotation not in (str, "str"))


def locate(target: str) -> Any:
    """Imports the class or function of a component that a dotted path names.

    Raises ConfigError if it does not exist, if its package may not hold components, or if it is no component: private,
    defined in another package, in a module of cdsframe that is no config group, or a function of cdsframe that is
    the `_target_` of no file in configs/.
    """
    target = _RENAMED.get(target, target)
    if target.startswith("cdsframe.") and target.split(".")[1] not in groups():
        raise ConfigError(f"the target {target} is not a component; its module is not a config group")
    found = resolve(target)
    root, _, rest = target.partition(".")
    private = any(part.startswith("_") for part in rest.split("."))
    if private or str(getattr(found, "__module__", "")).partition(".")[0] != root:
        raise ConfigError(f"the target {target} is not a component; name a public class or function of the package")
    if root == "cdsframe" and inspect.isfunction(found) and target not in built_in_targets():
        raise ConfigError(
            f"the target {target} is not a component: no file in configs/ has this function as its _target_"
        )
    return found


def resolve(target: str) -> Any:
    """Imports what a dotted path names. Raises ConfigError if it does not exist or its package is not allowed."""
    if not re.fullmatch(r"\w+(\.\w+)+", target):
        raise ConfigError(f"the target {named(target)} is not a dotted path; expected module.Class or module.function")
    require_allowed(target)
    module_name, _, attribute = target.rpartition(".")
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


def build(node: DictConfig, system: Mapping[str, Any] | None = None, group: str = "", /, **dependencies: Any) -> Any:
    """Calls the node's target with the node's keys and the dependencies in its signature.

    Nested nodes with a target are built first, with the same dependencies: a mix receives its sources.

    Args:
        system: dependency name -> object. Only the names in a signature are read, because reading a name builds the
            component. `dependencies` take precedence.
        group: the config group, whose contract the object must fulfil; "": the object is not checked.

    Raises ConfigError if the object, or one of a nested node, does not fulfil its group's contract, or if another
    package's component cannot be built. Raises TypeError if a dependency is missing: a defect of the caller.
    """
    given: Mapping[str, Any] = {} if system is None else system
    return _made(OmegaConf.to_container(node, resolve=True), ChainMap(dependencies, cast(dict[str, Any], given)), group)


def examine(cfg: DictConfig, model: Any) -> None:
    """Examines the model's chat template if a configured component formats conversations for the model.

    These components do: a training or an evaluation that makes prompts, and a generator that uses the model (except in
    an evaluation that does not ask the generator). Raises ConfigError if the template cannot be used.
    """
    prompts = any(declared(cfg, job, "makes_prompts", False) for job in ("training", "evaluation"))
    asks = "evaluation" not in cfg or declared(cfg, "evaluation", "asks_generator", True)
    if prompts or (asks and declared(cfg, "generator", "uses_model", False)):
        model.examine()


def declared(cfg: DictConfig, group: str, fact: str, default: Any) -> Any:
    """Returns the value that the component of `group` declares for `fact` (see `cdsframe.contracts.declarations`).

    Returns the default if the component declares none, if the configuration has no such group, or if the option lacks a
    key that the declaration reads (a subclass may fix its value). Raises ConfigError if another package's declaration
    fails.
    """
    node = cfg.get(group)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        return default
    target = locate(str(node["_target_"]))
    found = getattr(target, fact, default)
    if not inspect.isfunction(found):
        return found
    settings = cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    parameters = inspect.signature(found).parameters
    if any(name not in settings and one.default is inspect.Parameter.empty for name, one in parameters.items()):
        return default
    try:
        return found(**{name: settings[name] for name in parameters if name in settings})
    except Exception as error:
        if target.__module__.partition(".")[0] == "cdsframe":
            raise
        raise ConfigError(f"{group}: {target.__qualname__}.{fact} failed ({error}); fix the package") from error


def nested_group(target: Any, key: str) -> str:
    """Returns the config group of the nodes below a component's key, which the component declares; "" by default."""
    declared_groups = getattr(target, "nested_groups", None)
    return str(declared_groups.get(key, "")) if isinstance(declared_groups, Mapping) else ""


def _made(value: Any, dependencies: Mapping[str, Any], group: str) -> Any:
    """Replaces every mapping that has a `_target_` with the object that the target returns, innermost first."""
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {key: _made(inner, dependencies, group) for key, inner in value.items()}
    target = locate(value["_target_"])
    settings = {
        key: _made(inner, dependencies, nested_group(target, key)) for key, inner in value.items() if key != "_target_"
    }
    accepted = inspect.signature(target).parameters
    wanted = [name for name, parameter in accepted.items() if name not in settings and is_dependency(parameter)]
    offered = {name: dependencies[name] for name in wanted if name in dependencies}
    return _called(target, {**settings, **offered}, group)


def _called(target: Any, arguments: Mapping[str, Any], group: str) -> Any:
    """Builds a component, or calls the function of a job. Raises ConfigError if another package's component fails."""
    try:
        made = target(**arguments)
    except CdsframeError:
        raise
    except Exception as error:
        job = inspect.isfunction(target) and group not in CONTRACTS
        if job or target.__module__.partition(".")[0] == "cdsframe":
            raise
        reason = (str(error).splitlines() or ["no reason given"])[0]
        name = f"{target.__module__}.{target.__qualname__}"
        raise ConfigError(f"{name} cannot be built: {reason}; correct the options, or fix the package") from error
    if problems := contract_problems(group, made):
        raise ConfigError(problems)
    return made
