"""The OmegaConf resolvers of cdsframe; importing this module registers them."""

from __future__ import annotations

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

OmegaConf.register_new_resolver("uid", lambda: os.urandom(2).hex(), use_cache=True, replace=True)
OmegaConf.register_new_resolver("either", lambda first, other: other if first is None else first, replace=True)


_environment_reads: list[str] = []
"""Names of the environment variables read since the list was cleared."""


def _environment(*arguments: Any) -> Any:
    _environment_reads.append(str(arguments[0]))
    return oc.env(*arguments)


OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def without_environment(node: Any) -> Any:
    """Returns the resolved configuration as plain containers. A value that reads an environment variable stays an
    interpolation, so that secrets are not written."""
    if not OmegaConf.is_config(node):
        return node
    keys = list(node) if isinstance(node, DictConfig) else range(len(node))
    shown = {}
    for key in keys:
        _environment_reads.clear()
        raw = node._get_node(key)._value()
        value = raw if OmegaConf.is_missing(node, key) else node[key]
        shown[key] = raw if _environment_reads else without_environment(value)
    return shown if isinstance(node, DictConfig) else list(shown.values())
