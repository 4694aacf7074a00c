"""Turns errors of Hydra, OmegaConf and YAML into messages for the user. Does not handle errors of components."""

from __future__ import annotations

import re
from difflib import get_close_matches

from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from cdsframe.config.moved_keys import MOVED


def hydra_message(error: Exception) -> str:
    """The message of a Hydra or OmegaConf error, with its cause and the closest existing key."""
    cause = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    text = re.sub(r"^\w+Error raised while resolving interpolation: ", "", f"{error}{cause}".strip(), flags=re.M)
    return f"{text}{_near_miss(error.__cause__)}"


def yaml_problem(error: YAMLError) -> str | None:
    """The file and position of invalid YAML; None if the text does not come from a YAML file."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    file = str(getattr(mark, "name", None) or getattr(error, "name", ""))
    if not file.endswith((".yaml", ".yml")):
        return None
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "no reason given"
    return f"{file}{place}: this is not valid YAML ({reason}); fix the file"


def _near_miss(error: BaseException | None) -> str:
    """Suggests the key that replaces an unknown one, or the closest existing key; "" without either."""
    if not isinstance(error, ConfigKeyError | ConfigAttributeError) or not isinstance(error.parent_node, DictConfig):
        return ""
    if str(error.full_key) in MOVED:
        return f"\nuse {MOVED[str(error.full_key)]}"
    near = get_close_matches(str(error.key), [str(key) for key in error.parent_node], n=1)
    return f"\ndid you mean {str(error.full_key).removesuffix(str(error.key))}{near[0]}?" if near else ""
