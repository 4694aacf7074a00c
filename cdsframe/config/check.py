"""Validates a configuration and reports all problems at once.

Binds each node to its target's signature, validates values by their annotations, then applies the rules between groups.
Builds no component and imports no heavy package.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator, Field

from cdsframe.artifacts.files import InputFile, InputFolder
from cdsframe.config.build import DEPENDENCIES, is_dependency, locate, nested_group
from cdsframe.config.contract import CONTRACTS, contract_problems
from cdsframe.config.folders import groups
from cdsframe.config.moved_keys import MOVED
from cdsframe.config.rules import RULES
from cdsframe.errors import ConfigError, clearest, named
from cdsframe.filters import empty_fields
from cdsframe.metadata import metadata_field_problems


def _names_a_folder(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name) or len(name.encode()) > 100:
        shown = named(name)
        raise ValueError(
            f"{shown} cannot be a folder's name; use at most 100 letters, digits, _ . and -, and begin with none of . -"
        )
    return name


def _has_values(filter: Mapping[str, Any]) -> Mapping[str, Any]:
    if empty := empty_fields({field: value for field, value in filter.items() if value is not None}):
        raise ValueError(f"{empty[0]} is empty; give filter.{empty[0]} a value or a list of values, or null for any")
    return filter


def _can_be_added(metadata_fields: list[str]) -> list[str]:
    if problems := metadata_field_problems(metadata_fields):
        raise ValueError("; ".join(problems))
    return metadata_fields


_WITHOUT_TARGET = ("paths", "logger", "callbacks")
"""Groups whose options are the values or the nodes below them."""

PLAIN_KEYS: dict[str, Any] = {
    "name": Annotated[str, AfterValidator(_names_a_folder)],
    "seed": Annotated[int, Field(ge=0, lt=2**32)],
    "resume": InputFolder | None,
    "own_process": bool,
    "adapter": str | None,
    "calibration": InputFile | None,
    "question": Annotated[str, Field(min_length=1)],
    "filter": Annotated[dict[str, str | list[str] | None], AfterValidator(_has_values)],
    "metadata_fields": Annotated[list[str], AfterValidator(_can_be_added)],
}
"""Top-level key of a primary configuration that is not a group -> the annotation of its value."""


def check(cfg: DictConfig) -> None:
    """Validates the whole configuration. Raises ConfigError with all problems."""
    problems = [problem for key in map(str, cfg) for problem in _plain_key_problems(cfg, key)]
    problems += [problem for path, group, node in _nodes(cfg) for problem in _node_problems(path, group, node)]
    if not problems:
        problems = _missing_groups(cfg) or [problem for rule in RULES for problem in rule(cfg)]
    if problems:
        raise ConfigError(problems)


def _plain_key_problems(cfg: DictConfig, key: str) -> list[str]:
    """Returns an error if a top-level key is unknown, or if its value is missing or invalid; does not check groups."""
    node = cfg._get_node(key)
    if OmegaConf.is_missing(cfg, key):
        return [f"{key} is missing; give it as {key}=…"]
    if key in PLAIN_KEYS:
        return _value_problems(key, cfg, key, check, PLAIN_KEYS[key])
    if (
        isinstance(node, DictConfig)
        and not node._is_none()
        and ("_target_" in node or key in ("paths", "logger", "callbacks"))
    ):
        return []
    if key in groups() and isinstance(node, DictConfig) and not node._is_none():
        return [f"{key} has no _target_; give the option's file the class or function to build: _target_: module.Class"]
    near = get_close_matches(key, [str(other) for other in cfg if other != key], n=1)
    return [f"{key} is neither a known key nor a group with an option" + (f"; did you mean {near[0]}?" if near else "")]


def _nodes(cfg: DictConfig, path: str = "", group: str = "") -> Iterator[tuple[str, str, DictConfig | ListConfig]]:
    """Yields the config path, the config group ("" if unknown) and the node of every `_target_`, outermost first.

    Also yields each list with a `_target_` inside.
    """
    if "_target_" in cfg:
        yield path, group, cfg
    for key in map(str, cfg):
        child = cfg._get_node(key)
        of_child = key if not path else _nested_group(cfg, key) if "_target_" in cfg else group
        if isinstance(child, ListConfig) and "_target_" in str(child):
            yield f"{path}.{key}" if path else key, "", child
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
            yield from _nodes(child, f"{path}.{key}" if path else key, of_child)


def _missing_groups(cfg: DictConfig) -> list[str]:
    """Returns an error for each group that a component needs and that `~GROUP` or a primary configuration left out."""
    needed: dict[str, str] = {}
    for path, _, node in _nodes(cfg):
        for name in _dependencies(locate(str(node["_target_"]))) if isinstance(node, DictConfig) else ():
            needed.setdefault(name, path)
    return [
        f"{needed[name]} needs {name}, which the configuration does not have; remove ~{name}, choose another option of "
        f"{needed[name]}, or use a primary configuration with {name}"
        for name in sorted(needed.keys() & groups() - {str(key) for key in cfg})
    ]


def _dependencies(target: Any) -> set[str]:
    """Returns the groups that a target needs: its dependencies without a default, and those that it declares.

    For the pipeline, those of the pipeline.
    """
    parameters = inspect.signature(target).parameters.values()
    names = {one.name for one in parameters if is_dependency(one) and one.default is inspect.Parameter.empty}
    names |= set(getattr(target, "needs", ()))
    if "pipeline" in names:
        from cdsframe.pipeline import Pipeline

        names |= set(inspect.signature(Pipeline).parameters)
    return names


def _nested_group(node: DictConfig, key: str) -> str:
    try:
        return nested_group(locate(str(node["_target_"])), key)
    except (ConfigError, OmegaConfBaseException):
        return ""  # `_node_problems` reports the target


def _node_problems(path: str, group: str, node: DictConfig | ListConfig) -> list[str]:
    if isinstance(node, ListConfig):
        return [f"{path} is a list with a _target_, which is not built; use a mapping with a name for each component"]
    try:
        target = locate(str(node["_target_"]))
    except ConfigError as error:
        return [f"{path}._target_: {problem}" for problem in error.problems]
    except OmegaConfBaseException as error:
        return [f"{path}._target_: {str(error).splitlines()[0]}"]
    parameters = inspect.signature(target).parameters
    keys = [str(key) for key in node if key != "_target_"]
    settings = [name for name, parameter in parameters.items() if name in keys or not is_dependency(parameter)]
    problems = []
    for key in keys:
        if key in DEPENDENCIES - {"name", "seed"} and (key not in parameters or is_dependency(parameters[key])):
            problems.append(f"{path}.{key} is a component of the system and cannot be set here; choose the group {key}")
        elif key not in parameters:
            near = get_close_matches(key, settings, n=1)
            hint = f"did you mean {path}.{near[0]}?" if near else f"it takes {', '.join(settings) or 'no keys'}"
            hint = f"use {MOVED[f'{path}.{key}']}" if f"{path}.{key}" in MOVED else hint
            problems.append(f"{path}.{key} is not an option of {node['_target_']}; {hint}")
    for name in settings:
        if name not in keys:
            if parameters[name].default is inspect.Parameter.empty:
                problems.append(f"{path}.{name} is missing; {node['_target_']} needs it")
            continue
        value = node._get_node(name)
        if isinstance(value, DictConfig) and not value._is_none() and "_target_" in value:
            continue  # a nested component, checked as a separate node
        problems += _value_problems(f"{path}.{name}", node, name, target, parameters[name].annotation)
    if path in parameters and path in CONTRACTS and path != "expansion":
        problems.append(
            f"{path}._target_: {node['_target_']} has an argument {path}, but is itself the {path} of the system; "
            "rename the argument"
        )
    if not problems:
        problems += [f"{path}._target_: {problem}" for problem in contract_problems(group, target)]
    values = {} if problems else _plain(node)
    if hasattr(target, "problems") and not problems:
        taken = inspect.signature(target.problems).parameters
        try:
            problems += list(target.problems(**{key: value for key, value in values.items() if key in taken}))
        except Exception as error:
            if target.__module__.partition(".")[0] == "cdsframe":
                raise
            problems.append(f"{path}: the check {target.__qualname__}.problems failed ({error}); fix the package")
    return problems


def _value_problems(path: str, node: DictConfig, key: str, target: Any, annotation: Any) -> list[str]:
    """Returns the problem of a value that is missing, cannot be resolved or does not fit its annotation."""
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

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
    try:
        if isinstance(annotation, str):
            annotation = eval(annotation, vars(_module_of(target)), vars(typing))  # noqa: S307 (source, not input)
        arbitrary: Any = {"arbitrary_types_allowed": True} if inspect.isclass(annotation) else None
        adapter = TypeAdapter(annotation, config=arbitrary)
    except (NameError, SyntaxError, TypeError, PydanticUserError) as error:
        reason = str(error).splitlines()[0]
        return [
            f"{path}: the annotation {annotation!r} in {target.__module__} cannot be used ({reason}); annotate a "
            "type of plain values, and import its names at the top of the module"
        ]
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        return [_in_words(path, *clearest(error.errors(), value))]
    return []


def _module_of(target: Any) -> Any:
    """Returns the module in which the annotations of a target's parameters are evaluated.

    That is the module of the class that defines the constructor: a target may inherit it from another module.
    """
    owner = target
    if inspect.isclass(target):
        owner = next((one for one in target.__mro__ if "__init__" in vars(one)), target)
    return sys.modules[owner.__module__]


def _in_words(path: str, place: Sequence[str | int], detail: Mapping[str, Any]) -> str:
    at = ".".join(map(str, [path, *place]))
    message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    message = message.replace("greater than or equal to", ">=").replace("less than or equal to", "<=")
    if detail["type"] == "value_error":
        return f"{at}: {message}"
    if detail["type"] == "string_type" and isinstance(detail["input"], int | float) and at != path:
        return f"{at} {message}, got {detail['input']!r}; put a number that is a text in quotes: '{at}=\"…\"'"
    known = re.findall("'([^']*)'", detail["ctx"]["expected"]) if detail["type"] == "literal_error" else []
    near = get_close_matches(str(detail["input"]), known, n=1)
    return f"{at} {message}, got {detail['input']!r}" + (f"; did you mean {near[0]}?" if near else "")


def _plain(node: DictConfig) -> dict[str, Any]:
    return typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
