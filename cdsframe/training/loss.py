"""The summed cross-entropy of labelled tokens, in chunks: never `[batch, length, vocabulary]`, nor all labelled logits.

Where the output layer is frozen its gradient for the hidden states is taken at once, chunk by chunk, so that no logits
are kept for the backward pass. Does not choose what is labelled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

CHUNK = 256
"""Positions whose logits are there at a time."""


def cross_entropy_sum(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Nats, a float32 scalar, of `targets` `[n]` (int64) after `hidden` `[n, dimension]` through the layer `head`."""
    plain = type(head) is torch.nn.Linear and head.bias is None
    if plain and not head.weight.requires_grad and torch.is_grad_enabled():
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        frozen: torch.Tensor = FrozenHead.apply(hidden, head.weight, targets, dtype)
        return frozen
    total = torch.zeros((), device=hidden.device)
    for rows, wanted in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True):
        total = total + checkpoint(_plain, head, rows, wanted, use_reentrant=False)
    return total


def _plain(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(head(hidden).float(), targets, reduction="sum")


class FrozenHead(torch.autograd.Function):
    """Through a frozen linear layer `weight` `[vocabulary, dimension]`; logits in `dtype`, softmax in float32."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
        hidden, weight, targets, dtype = arguments
        gradient = torch.empty(hidden.shape, dtype=dtype, device=hidden.device)
        total = torch.zeros((), device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            matrix = weight.detach().to(dtype)
            for start in range(0, len(targets), CHUNK):
                part = slice(start, start + CHUNK)
                logits = (hidden[part].to(dtype) @ matrix.T).float()
                wanted = targets[part, None]
                norm = logits.logsumexp(1, keepdim=True)
                total += (norm - logits.gather(1, wanted)).sum()
                logits.sub_(norm).exp_().scatter_add_(1, wanted, torch.full_like(norm, -1.0))
                gradient[part] = logits.to(dtype) @ matrix
        ctx.save_for_backward(gradient)
        ctx.dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * gradients[0]).to(ctx.dtype), None, None, None
