"""Checks that a component has the methods and attributes of its group's contract. Calls none of them."""

from __future__ import annotations

import inspect
from typing import Any

from cdsframe import contracts

CONTRACTS: dict[str, type] = {
    "chunking": contracts.Chunker,
    "context": contracts.Context,
    "corpus": contracts.Corpus,
    "data": contracts.DataSource,
    "embedder": contracts.Embedder,
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
"""Group -> the contract of its components. `prompt` has none, because its class is fixed; jobs (`training`, …) have
none, because they are functions."""


_NOTHING = object()


def contract_problems(group: str, component: Any) -> list[str]:
    """Returns a sentence that lists the members that a component, or its class, lacks; empty if nothing is missing.

    For a class, only methods are checked: its constructor may set attributes. Functions are not checked.
    """
    contract = CONTRACTS.get(group)
    if contract is None or inspect.isfunction(component):
        return []
    members = {name: member for name, member in vars(contract).items() if not name.startswith("_")}
    methods = [name for name, member in members.items() if callable(member)]
    wanted = list(methods)
    if not inspect.isclass(component):
        wanted += [name for name, member in members.items() if isinstance(member, property)]
        wanted += vars(contract).get("__annotations__", {})
    values = {name: inspect.getattr_static(component, name, _NOTHING) for name in wanted}
    missing = [name for name in wanted if values[name] is _NOTHING or (values[name] is None and name in methods)]
    kind = component if inspect.isclass(component) else type(component)
    if not missing and inspect.isclass(component) and inspect.isabstract(component):
        missing = sorted(getattr(component, "__abstractmethods__", ()))
    if not missing:
        return []
    return [
        f"{kind.__module__}.{kind.__qualname__} is not a valid {group}: it lacks {', '.join(missing)} "
        f"(the contract is cdsframe.contracts.{contract.__name__})"
    ]
