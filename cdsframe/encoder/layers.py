"""The modules of sentence-transformers after the transformer, in numpy: for back ends that run without torch.

Each function computes what the library's module of that name computes, in float32. Exporting a
model with any other module raises ConfigError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cdsframe.encoder.folder import pooling_modes

if TYPE_CHECKING:
    import numpy as np

Weights = Mapping[str, "np.ndarray"]


def pooled(states: np.ndarray, mask: np.ndarray, config: Mapping[str, Any], prompt_tokens: int) -> np.ndarray:
    """Pooling: `[n, tokens, size]` -> `[n, size × modes]`.

    Args:
        states: the transformer's last hidden states.
        mask: `[n, tokens]`, 1 for tokens, 0 for padding.
        config: the module's `config.json`.
        prompt_tokens: tokens of the prompt, left out if the configuration has `include_prompt: false`.
    """
    import numpy as np

    first = mask.argmax(1)[:, None]
    places = np.arange(mask.shape[1])[None]
    seen = (
        mask * (places >= first + prompt_tokens) if prompt_tokens and not config.get("include_prompt", True) else mask
    )
    weights = seen[..., None].astype(np.float32)
    rows = np.arange(len(mask))

    def mean(power: float) -> Any:
        return (states * weights).sum(1) / np.maximum(weights.sum(1), 1e-9) ** power

    def weighted() -> Any:
        by_place = weights * (places - first + 1)[..., None]
        return (states * by_place).sum(1) / np.maximum(by_place.sum(1), 1e-9)

    ways: dict[str, Callable[[], Any]] = {
        "cls": lambda: states[rows, seen.argmax(1)],
        "max": lambda: np.where(weights == 0, -np.inf, states).max(1),
        "mean": lambda: mean(1.0),
        "mean_sqrt_len_tokens": lambda: mean(0.5),
        "weightedmean": weighted,
        "lasttoken": lambda: states[rows, mask.shape[1] - 1 - seen[:, ::-1].argmax(1)],
    }
    return np.concatenate([ways[mode]() for mode in pooling_modes(config)], axis=1, dtype=np.float32)


def _dense(vectors: np.ndarray, config: Mapping[str, Any], weights: Weights) -> np.ndarray:
    out: np.ndarray = vectors @ weights["linear.weight"].T
    if "linear.bias" in weights:
        out = out + weights["linear.bias"]
    out = ACTIVATIONS[config.get("activation_function", "torch.nn.modules.activation.Tanh").rpartition(".")[2]](out)
    if config.get("use_residual"):
        out = out + (vectors @ weights["residual.weight"].T if "residual.weight" in weights else vectors)
    return out


def _layer_norm(vectors: np.ndarray, config: Mapping[str, Any], weights: Weights) -> np.ndarray:
    import numpy as np

    centred = vectors - vectors.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    result: np.ndarray = scaled * weights["norm.weight"] + weights["norm.bias"]
    return result


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Scales rows to unit length."""
    import numpy as np

    result: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return result


def _tanh(values: np.ndarray) -> np.ndarray:
    import numpy as np

    result: np.ndarray = np.tanh(values)
    return result


def _gelu(values: np.ndarray) -> np.ndarray:
    import numpy as np

    result: np.ndarray = values * 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float32])(values / math.sqrt(2)))
    return result


ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "Identity": lambda values: values,
    "Tanh": _tanh,
    "ReLU": lambda values: values * (values > 0),
    "GELU": _gelu,
}
"""Class name of a dense module's activation function -> the function."""

LAYERS: Mapping[str, Callable[[Any, Mapping[str, Any], Weights], Any]] = {
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": lambda vectors, config, weights: normalised(vectors),
    "Dropout": lambda vectors, config, weights: vectors,
}
"""Class name of a module after the pooling -> its function of vectors `[n, size]`, its configuration and weights."""


def readable(kinds: Sequence[str]) -> bool:
    """Whether an exported model can have these modules: a transformer, a pooling, then modules of `LAYERS`."""
    return tuple(kinds[:2]) == ("Transformer", "Pooling") and set(kinds[2:]) <= LAYERS.keys()
