"""The optimisers that fine-tuning can use: AdamW (Loshchilov and Hutter, arXiv 1711.05101), plain, paged or in 8 bits.

Paged: its moments move to the CPU when the device's memory is short (QLoRA, arXiv 2305.14314). 8-bit moments: Dettmers
et al. (arXiv 2110.02861). Does not know schedules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Optimizer = Literal["auto", "adamw", "paged_adamw", "adamw_8bit", "paged_adamw_8bit"]

MOMENT_BYTES = {"adamw": 8, "paged_adamw": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2}
"""Of both moments of a weight."""


def make_optimizer(
    name: Optimizer, weights: Mapping[str, Any], cuda: bool, learning_rate: float, weight_decay: float, b_ratio: float
) -> Any:
    """The optimiser of the named weights; `auto` is paged on CUDA, plain elsewhere.

    Args:
        b_ratio: by which LoRA's B matrices learn faster than its A matrices: LoRA+ (Hayou et al., arXiv 2402.12354).
            Each group says its own by `ratio`.
    """
    import torch

    if name == "auto":
        name = "paged_adamw" if cuda else "adamw"
    groups: dict[float, list[Any]] = {}
    for weight_name, weight in weights.items():
        groups.setdefault(b_ratio if "lora_B" in weight_name else 1.0, []).append(weight)
    parameters = [{"params": members, "ratio": ratio} for ratio, members in groups.items()]
    make: Any = torch.optim.AdamW
    if name != "adamw":
        import bitsandbytes

        kinds = bitsandbytes.optim
        make = {
            "paged_adamw": kinds.PagedAdamW32bit,
            "adamw_8bit": kinds.AdamW8bit,
            "paged_adamw_8bit": kinds.PagedAdamW8bit,
        }[name]
    return make(parameters, lr=learning_rate, weight_decay=weight_decay)
