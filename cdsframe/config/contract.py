"""Checks that a component has the methods and attributes of its group's contract. Calls none of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from cdsframe import contracts

CONTRACTS: dict[str, type] = {
    "chunking": contracts.Chunker,
    "contamination": contracts.Contamination,
    "context": contracts.Context,
    "corpus": contracts.Corpus,
    "data": contracts.DataSource,
    "embedder": contracts.Embedder,
    "expansion": contracts.Retriever,
    "fusion": contracts.Fusion,
    "generator": contracts.Generator,
    "index": contracts.Index,
    "logger": contracts.Logger,
    "lora": contracts.Lora,
    "model": contracts.LanguageModel,
    "quantization": contracts.Quantization,
    "reranker": contracts.Reranker,
    "retriever": contracts.Retriever,
    "trainer": contracts.Trainer,
}
"""Group -> the contract of its components. `prompt` and `optimization` have none, because their class is fixed; jobs
(`training`, …) and `callbacks` have none, because they are functions."""


_NOTHING = object()


def contract_problems(group: str, component: Any) -> list[str]:
    """Returns a sentence that lists the members that a component, or its class, lacks; empty if nothing is missing.

    Without missing members, returns a sentence for each method that cannot be called with the contract's arguments. For
    a class, only methods are checked: its constructor may set attributes. Functions are not checked: the object that
    they return is.
    """
    contract = CONTRACTS.get(group)
    if contract is None or inspect.isfunction(component):
        return []
    members = {name: member for name, member in vars(contract).items() if not name.startswith("_")}
    methods = {name: member for name, member in members.items() if callable(member)}
    wanted = list(methods)
    if not inspect.isclass(component):
        wanted += [name for name, member in members.items() if isinstance(member, property)]
        wanted += vars(contract).get("__annotations__", {})
    values = {name: inspect.getattr_static(component, name, _NOTHING) for name in wanted}
    missing = [name for name in wanted if values[name] is _NOTHING or (name in methods and not _callable(values[name]))]
    kind = component if inspect.isclass(component) else type(component)
    if not missing and inspect.isclass(component) and inspect.isabstract(component):
        missing = sorted(getattr(component, "__abstractmethods__", ()))
    faults = [f"it lacks {', '.join(missing)}"] if missing else _uncallable(component, methods)
    where = f"the contract is cdsframe.contracts.{contract.__name__}"
    return [f"{kind.__module__}.{kind.__qualname__} is not a valid {group}: {fault} ({where})" for fault in faults]


def _callable(member: Any) -> bool:
    """Whether a class's member may be called on its objects; descriptors, such as properties, may."""
    return callable(member) or (member is not None and hasattr(type(member), "__get__"))


def _uncallable(component: Any, methods: dict[str, Callable[..., Any]]) -> Iterator[str]:
    """Yields the methods whose parameters cannot take the arguments of the contract's method."""
    for name, method in methods.items():
        wanted = inspect.signature(method)
        wanted = wanted.replace(parameters=list(wanted.parameters.values())[1:])  # without `self`
        found = _signature(component, name)
        if found is not None and not all(_binds(found, *call) for call in _calls(wanted)):
            wanted, found = (_without_annotations(signature) for signature in (wanted, found))
            yield f"its {name}{found} cannot be called as {name}{wanted}"


def _signature(component: Any, name: str) -> inspect.Signature | None:
    """Returns a method's signature without `self`; None if it is unknown, as for methods written in C."""
    member = inspect.getattr_static(component, name)
    own = () if inspect.isclass(component) else getattr(component, "__dict__", ())
    if isinstance(member, staticmethod | classmethod):
        member = member.__get__(None, component if inspect.isclass(component) else type(component))
    elif inspect.isfunction(member) and name not in own:
        member = member.__get__(component)
    try:
        return inspect.signature(member) if callable(member) else None
    except (TypeError, ValueError):
        return None


def _calls(wanted: inspect.Signature) -> Iterator[tuple[list[str], list[str]]]:
    """Yields the ways in which cdsframe may call a method: the positional arguments and the keywords.

    Optional arguments are left out, passed by position, or by keyword.
    """
    parameters = wanted.parameters.values()
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    required = [p.name for p in positional if p.default is p.empty]
    optional = [p.name for p in positional if p.default is not p.empty]
    several = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    yield required, [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    yield [*required, *optional, *several, *several], keywords
    yield required, [*optional, *keywords]


def _binds(found: inspect.Signature, positional: list[str], keywords: list[str]) -> bool:
    try:
        found.bind(*positional, **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def _without_annotations(signature: inspect.Signature) -> inspect.Signature:
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
