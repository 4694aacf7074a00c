"""Weights that `evaluation=tune` stored with an index, as an annotation. Does not fit weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.identity import flat
from cdsframe.contracts import Embedder, Fusion, Index
from cdsframe.errors import ConfigError

Factor = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class StoredWeights(BaseModel):
    """Weights by config path, and what they were fitted to: the number of queries and their digest."""

    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    weights: dict[str, Factor]
    queries: int
    data: str


def key_of(retriever: object, num_candidates: int, fusion: Fusion, embedder: Embedder) -> str:
    """Key of the annotation: equal for retrievers whose weights mean the same.

    Depends on the classes of retriever and fusion, the fusion's other settings, the length of the lists, and the
    embedder.
    """
    settings = {"num_candidates": num_candidates, **getattr(fusion, "settings", {}), **embedder.identity}
    named = [f"{type(part).__module__}.{type(part).__qualname__}" for part in (retriever, fusion)]
    return f"weights:{digest(*named, *(f'{name}={value!r}' for name, value in sorted(flat(settings).items())))}"


def stored_weights(index: Index, key: str, expected: Mapping[str, Any]) -> StoredWeights | None:
    """Returns the index's weights under a key, or None. Raises ConfigError if they are damaged.

    Args:
        expected: the config paths of the retriever's weights; stored weights of other paths are not returned.
    """
    value = index.annotations.get(key)
    if value is None:
        return None
    try:
        found = StoredWeights.model_validate(value)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(
            f"the weights stored with the index are damaged ({place}: {error.errors()[0]['msg']}); remove them by "
            "evaluation=tune evaluation.store=remove"
        ) from None
    return found if found.weights.keys() == expected.keys() else None
