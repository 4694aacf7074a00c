"""States of the random number generators of a process, as JSON."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from cdsframe.types import JsonObject

if TYPE_CHECKING:
    import torch


def random_states() -> JsonObject:
    """Returns the states of this process's generators: Python's, numpy's, torch's, and the current CUDA device's."""
    import numpy
    import torch

    version, internal, gauss = random.getstate()
    legacy: Any = numpy.random.get_state()
    _, keys, position, has_gauss, cached = legacy
    return {
        "python": [version, list(internal), gauss],
        "numpy": [keys.tolist(), position, has_gauss, cached],
        "torch": bytes(torch.get_rng_state().tolist()).hex(),
        "cuda": bytes(torch.cuda.get_rng_state().tolist()).hex() if torch.cuda.is_available() else None,
    }


def restore_random_states(states: JsonObject) -> None:
    """Sets the generators to states that `random_states` returned."""
    import numpy
    import torch

    def state(text: str) -> torch.Tensor:
        return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)

    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    numpy.random.set_state(("MT19937", numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))
    torch.set_rng_state(state(states["torch"]))
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state(states["cuda"]))
