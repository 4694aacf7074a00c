"""Causal attention over packed examples: each example attends only to itself, without padding.

In bfloat16 on a CPU, short examples are computed by `attend_in_blocks`, others by torch's fused kernel. Does not
support inference with a key-value cache.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch

from cdsframe.lora import base_of
from cdsframe.training.block_attention import attend_in_blocks

log = logging.getLogger(__name__)

NAME = "cdsframe_packed"
LONGEST = 768
"""Maximum tokens of an example that is computed in blocks, which store `length²` numbers; longer examples use torch's
fused kernel. Measured with AMX: blocks are 1.4 times as fast at 256 tokens, 1.6 times at 512 and 720."""
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.05}
"""dtype -> maximum relative difference (median over an example's tokens) of hidden states, packed against alone."""
_LEAK = 1e-5
"""Maximum relative change of any token's hidden state if the other example in its row has other tokens."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Numbers of tokens of packed examples, in order. A class: torch.compile would guard every number of a list."""

    of: list[int]


def pack(model: Any) -> bool:
    """Sets packed attention if the model's layers keep packed examples apart. Returns whether they do.

    Tests two short sequences: a layer that mixes tokens outside attention (a convolution, a recurrent state) gives
    other hidden states if both are in one row. Such a model keeps its attention, and its examples are padded.
    """
    causal = base_of(model)
    own = str(causal.config._attn_implementation)
    training = model.training
    model.eval()
    first, second, other = list(range(105, 110)), list(range(110, 117)), list(range(120, 125))
    alone = torch.cat([_states(causal, [one]) for one in (first, second)])
    use_packed(model)
    try:
        together, beside_another = _states(causal, [first, second]), _states(causal, [other, second])
        rounding = _ROUNDING.get(causal.dtype, _ROUNDING[torch.bfloat16])
        changed = _distances(together, alone)
        leaked = _distances(beside_another, together)[len(first) :]
        same = all(part.median() <= rounding for part in changed.split([len(first), len(second)]))
        apart = bool(same and (leaked <= _LEAK).all())
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
    ):  # a layer does not pass `lengths` on, or has custom attention
        apart = False
    if not apart:
        causal.set_attn_implementation(own)
    model.train(training)
    log.info("attention: %s", f"{NAME} (examples are packed)" if apart else f"{own} (examples are padded)")
    return apart


def use_packed(model: Any) -> None:
    """Sets `attend` as the model's attention. Does not test whether the layers keep packed examples apart."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    causal = base_of(model)
    causal.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    lengths: Lengths,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function of transformers' interface: query `[1, heads, tokens, d]`, result `[1, tokens, heads, d]`.

    Args:
        lengths: numbers of tokens of the packed examples, in order.
        sliding_window: number of tokens that a token attends to, itself included; None: itself and all before it.

    Raises ValueError if the model caps attention scores (`softcap`).
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if options.get("softcap") is not None:
        raise ValueError("packed attention does not support a soft cap of the scores")
    blocks = query.device.type == "cpu" and query.dtype == torch.bfloat16 and dropout == 0
    options |= {"dropout": dropout, "scaling": scaling, "is_causal": True}
    results = []
    for q, k, v in zip(*(tensor.split(lengths.of, dim=2) for tensor in (query, key, value)), strict=True):
        mask, length = None, q.shape[2]
        if sliding_window is not None and length > sliding_window:
            seen = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
            mask = seen.triu(1 - sliding_window)[None, None]
        if blocks and length <= LONGEST and mask is None:
            results.append(attend_in_blocks(q[0], k[0], v[0], scaling).transpose(0, 1)[None])
        else:
            results.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0])
    return torch.cat(results, dim=1), None


def _states(causal: Any, sequences: list[list[int]]) -> torch.Tensor:
    """Returns the hidden states `[tokens, dimension]` of sequences in one row; several sequences are packed."""
    device = causal.get_input_embeddings().weight.device
    rows = causal.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([[token % rows for one in sequences for token in one]], device=device)
    positions = torch.tensor([[n for one in sequences for n in range(len(one))]], device=device)
    packed: dict[str, Any] = {"lengths": Lengths([len(one) for one in sequences])} if len(sequences) > 1 else {}
    with torch.no_grad():
        found = causal.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False, **packed)
    states: torch.Tensor = found.last_hidden_state[0].float()
    return states


def _distances(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Returns the norm of each token's difference, divided by the norm of its wanted state.

    A few tokens have values so large that bfloat16 rounds their other values away: `pack` takes the median.
    """
    relative: torch.Tensor = (found - wanted).norm(dim=1) / wanted.norm(dim=1)
    return relative
