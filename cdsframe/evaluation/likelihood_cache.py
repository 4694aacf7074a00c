"""Keeps log-likelihoods of options, so that a killed exam resumes and the same exam is not computed twice.

A log-likelihood is stored under a digest of what decides it: the weights of model and adapter, quantization, precision,
versions of the libraries, and the tokens. In bfloat16, other sequences of its batch may change it too.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cdsframe.artifacts.digests import digest
from cdsframe.contracts import LanguageModel
from cdsframe.evaluation.store import ResultStore
from cdsframe.evaluation.token_likelihood import Pairs, log_likelihoods

_AT_ONCE = 256
"""Log-likelihoods that are computed before they are stored: at most so many are lost by a kill."""


def cached_log_likelihoods(model: LanguageModel, pairs: Pairs, batch_tokens: int, folder: str | None) -> list[float]:
    """As `log_likelihoods`; reads stored ones from a folder and computes and stores the others. None: no cache.

    Loads no model if all are stored.
    """
    if folder is None:
        return log_likelihoods(model, pairs, batch_tokens)
    from tqdm import tqdm

    store = ResultStore(Path(folder) / "log_likelihoods.sqlite", "log_likelihoods")
    keys = [digest(model.outputs_depend_on, _written(context), _written(target)) for context, target in pairs]
    found = store.read(keys, _number)
    missing = dict(zip(keys, pairs, strict=True))
    waiting = [key for key in missing if key not in found]
    with tqdm(total=len(missing), initial=len(found), desc="options", unit="", disable=len(waiting) <= _AT_ONCE) as bar:
        for first in range(0, len(waiting), _AT_ONCE):
            part = waiting[first : first + _AT_ONCE]
            new = dict(zip(part, log_likelihoods(model, [missing[key] for key in part], batch_tokens), strict=True))
            store.write(new)
            found |= new
            bar.update(len(part))
    return [found[key] for key in keys]


def _written(ids: Any) -> str:
    return " ".join(map(str, ids))


def _number(value: Any) -> float:
    """Raises ValueError if a stored value is no log-likelihood."""
    if not isinstance(value, float | int) or not math.isfinite(value):
        raise ValueError("no log-likelihood")
    return float(value)
