"""Causal attention for training on a CPU: plain matrix products, which bfloat16 units do faster than the fused kernel.

Torch's fused CPU kernel does not use these units for the small matrices of short sequences. Longer sequences, whose
probabilities take memory, keep it. Does not serve inference with a cache.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

log = logging.getLogger(__name__)

NAME = "cdsframe_matmul"
LONGEST = 512
"""Tokens up to which the products are faster (measured: 1.8 times at 256 tokens, 1.2 at 512)."""


def choose(model: Any, dtype: torch.dtype) -> str:
    """Sets and returns the attention implementation with which the model will train on its device, and logs it."""
    chosen = str(model.config._attn_implementation)
    if chosen == "sdpa" and dtype == torch.bfloat16 and model.device.type == "cpu":
        from transformers import AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        causal.set_attn_implementation(NAME)
        chosen = NAME
    log.info("attention: %s", chosen)
    return chosen


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' own: query `[batch, heads, length, d]`, the result `[batch, length, heads, d]`."""
    length = query.shape[2]
    if length > LONGEST or length != key.shape[2] or dropout > 0 or query.dtype != torch.bfloat16:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return attended
    batch, heads = query.shape[:2]
    groups = heads // key.shape[1]
    hidden = torch.full((), float("-inf"), dtype=query.dtype)
    if attention_mask is None:
        seen = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        bias = torch.where(seen, 0.0, hidden).expand(batch * heads, length, length)
    else:
        lowest = torch.finfo(query.dtype).min  # a padded row may see nothing: its softmax must stay finite
        bias = (
            torch.where(attention_mask, 0.0, lowest).to(query.dtype)
            if attention_mask.dtype == torch.bool
            else attention_mask
        )
        bias = bias.expand(batch, heads, length, length).reshape(batch * heads, length, length)
    rows = [t.repeat_interleave(groups, dim=1) if groups > 1 else t for t in (key, value)]
    q, k, v = (t.reshape(batch * heads, length, -1) for t in (query, *rows))
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scaling if scaling is not None else q.shape[-1] ** -0.5)
    result = torch.softmax(scores, -1) @ v
    return result.view(batch, heads, length, -1).transpose(1, 2), None
