"""Makes a component from a config node. Checks nothing but where the target lies (see `cdsframe.config.check`)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cdsframe.errors import ConfigError

DEPENDENCIES = frozenset({
    "adapter", "calibration", "chunking", "contamination", "context", "corpus", "data", "embedder", "fusion",
    "generator", "identity", "index", "lora", "logger", "model", "name", "pipeline", "prompt", "quantization",
    "reranker", "retriever", "run", "seed", "trainer",
})  # fmt: skip
"""Arguments that entry points hand over as objects; every other argument of a component stands in its YAML."""


def locate(target: str) -> Any:
    """The object that a dotted path names. Raises ConfigError for anything outside `cdsframe.` or not there."""
    if not target.startswith("cdsframe."):
        raise ConfigError(
            f"the target {target} is outside cdsframe.; wrap it in a function of your own module in cdsframe"
        )
    module_name, _, attribute = target.rpartition(".")
    try:
        found = getattr(import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name and not error.name.startswith("cdsframe"):
            raise ConfigError(f"the target {target} needs the package {error.name}, which is not installed") from None
        raise ConfigError(f"the target {target} does not exist: no module {error.name}") from None
    except AttributeError:
        near = get_close_matches(attribute, dir(import_module(module_name)), n=1)
        hint = f"; did you mean {module_name}.{near[0]}?" if near else ""
        raise ConfigError(f"the target {target} does not exist{hint}") from None
    if not callable(found):
        raise ConfigError(f"the target {target} is neither a class nor a function")
    return found


def build(node: DictConfig, /, **dependencies: Any) -> Any:
    """Calls the node's target with the node's keys and with those of the dependencies that it names.

    Nodes with a target below it are built first, with the same dependencies: a mix is handed its sources. A dependency
    that a target needs and does not get is a TypeError (a forgotten wire, a defect of ours).
    """
    return _made(OmegaConf.to_container(node, resolve=True), dependencies)


def examine(cfg: DictConfig, model: Any) -> None:
    """Examines the model's chat template where a component that the configuration names talks with the model.

    Raises ConfigError where it cannot be used. A training or an evaluation that takes a `prompt` makes conversations of
    its own; the others talk through the generator, if its engine is the `model`.
    """
    own = any(_takes(cfg, group, "prompt") for group in ("training", "evaluation"))
    asks = "evaluation" not in cfg or _takes(cfg, "evaluation", "pipeline")
    if own or (asks and _takes(cfg, "generator", "model")):
        model.examine()


def _takes(cfg: DictConfig, group: str, dependency: str) -> bool:
    return group in cfg and dependency in inspect.signature(locate(cfg[group]["_target_"])).parameters


def _made(value: Any, dependencies: Mapping[str, Any]) -> Any:
    """The value with every mapping that has a target replaced by what its target makes of it."""
    if not isinstance(value, dict):
        return value
    settings = {key: _made(inner, dependencies) for key, inner in value.items()}
    if "_target_" not in settings:
        return settings
    target = locate(settings.pop("_target_"))
    accepted = inspect.signature(target).parameters
    offered = {name: value for name, value in dependencies.items() if name in accepted and name not in settings}
    return target(**settings, **offered)
