"""Keeps log-likelihoods of options, so that a killed exam resumes and the same exam is not computed twice.

A log-likelihood is stored under a digest of what decides it: the weights of model and adapter, quantization, precision,
versions of the libraries, and the tokens. In bfloat16, other sequences of its batch may change it too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cdsframe.artifacts.digests import digest
from cdsframe.contracts import LanguageModel
from cdsframe.evaluation.exams.token_likelihood import Pairs, log_likelihoods
from cdsframe.evaluation.store import ResultStore

_AT_ONCE = 1024
"""Log-likelihoods that are computed before they are stored, and then those of the same context.

A kill loses at most so many. Tokens that sequences share are computed again for each such part.
"""
_SHOWN = 64
"""Log-likelihoods to compute from which a progress bar is shown."""


def cached_log_likelihoods(model: LanguageModel, pairs: Pairs, batch_tokens: int, folder: str | None) -> list[float]:
    """As `log_likelihoods`; reads stored ones from a folder and computes and stores the others. None: no cache.

    Loads no model if all are stored.
    """
    from tqdm import tqdm

    if folder is None:
        with tqdm(total=len(pairs), desc="options", unit="", disable=len(pairs) <= _SHOWN) as bar:
            return log_likelihoods(model, pairs, batch_tokens, bar.update)
    store = ResultStore(Path(folder) / "log_likelihoods.sqlite", "log_likelihoods")
    keys = [digest(model.outputs_depend_on, _written(context), _written(target)) for context, target in pairs]
    found = store.read(keys, _number)
    missing = dict(zip(keys, pairs, strict=True))
    waiting = [key for key in missing if key not in found]
    with tqdm(total=len(missing), initial=len(found), desc="options", unit="", disable=len(waiting) <= _SHOWN) as bar:
        for part in _parts(waiting, [missing[key][0] for key in waiting]):
            scores = log_likelihoods(model, [missing[key] for key in part], batch_tokens, bar.update)
            new = dict(zip(part, scores, strict=True))
            store.write(new)
            found |= new
    return [found[key] for key in keys]


def _parts(keys: Sequence[str], contexts: Sequence[Sequence[int]]) -> Iterator[list[str]]:
    """Yields the keys in parts of about `_AT_ONCE`; successive keys of one context are in the same part."""
    part: list[str] = []
    for number, key in enumerate(keys):
        if len(part) >= _AT_ONCE and contexts[number] != contexts[number - 1]:
            yield part
            part = []
        part.append(key)
    if part:
        yield part


def _written(ids: Any) -> str:
    return " ".join(map(str, ids))


def _number(value: Any) -> float:
    """Raises ValueError if a stored value is not a log-likelihood."""
    if not isinstance(value, float | int) or not math.isfinite(value):
        raise ValueError("no log-likelihood")
    return float(value)
