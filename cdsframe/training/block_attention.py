"""Causal attention of one sequence by matrix products over blocks of queries, for bfloat16 on CPUs.

torch's fused CPU kernel does not use the bfloat16 units for small matrices. A block of queries is multiplied only with
the keys up to its end, so half of the products are skipped, and a block's scores stay in the processor's cache. Stores
the attention probabilities for the backward pass, `heads * length² / 2` numbers. Does not support dropout or a mask.
"""

from __future__ import annotations

from typing import Any

import torch

BLOCK = 128
"""Number of queries in a block."""


def attend_in_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Computes softmax(query key' · scaling) value with a causal mask.

    Args:
        query: `[heads, length, d]`.
        key, value: `[groups, length, d]`; `heads` is a multiple of `groups` (grouped-query attention).
        scaling: None: `d ** -0.5`.

    Returns `[heads, length, d]`.
    """
    result: torch.Tensor = BlockAttention.apply(
        query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling
    )
    return result


class BlockAttention(torch.autograd.Function):
    """`attend_in_blocks` with its gradients. Sums over blocks are in float32."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
        query, key, value, scaling = arguments
        groups, length, d = key.shape
        query = query.reshape(groups, -1, length, d)
        result = torch.empty_like(query)
        future = torch.full((BLOCK, BLOCK), -torch.inf, dtype=query.dtype).triu_(1)
        probabilities = []
        for start, end in _blocks(length):
            rows = end - start
            scores = torch.bmm(_rows(query, start, end), key[:, :end].transpose(1, 2)).mul_(scaling)
            scores.view(groups, -1, rows, end)[..., start:] += future[:rows, :rows]
            probabilities.append(torch.softmax(scores, -1))
            result[:, :, start:end] = torch.bmm(probabilities[-1], value[:, :end]).view(groups, -1, rows, d)
        ctx.save_for_backward(query, key, value, *probabilities)
        ctx.scaling = scaling
        return result.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *probabilities = ctx.saved_tensors
        out = gradients[0].reshape(query.shape)
        query_gradient = torch.empty_like(query)
        key_gradient, value_gradient = (torch.zeros(key.shape, dtype=torch.float32) for _ in range(2))
        for (start, end), p in zip(_blocks(query.shape[2]), probabilities, strict=True):
            part = _rows(out, start, end)
            value_gradient[:, :end] += torch.bmm(p.transpose(1, 2), part)
            behind = torch.bmm(part, value[:, :end].transpose(1, 2))
            scores = torch.ops.aten._softmax_backward_data(behind, p, -1, p.dtype).mul_(ctx.scaling)
            query_gradient[:, :, start:end] = torch.bmm(scores, key[:, :end]).view_as(query[:, :, start:end])
            key_gradient[:, :end] += torch.bmm(scores.transpose(1, 2), _rows(query, start, end))
        return query_gradient.flatten(0, 1), key_gradient.to(key.dtype), value_gradient.to(value.dtype), None


def _blocks(length: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _rows(heads: torch.Tensor, start: int, end: int) -> torch.Tensor:
    """The queries of a block, `[groups, heads per group * rows, d]`, from `[groups, heads per group, length, d]`."""
    return heads[:, :, start:end].flatten(1, 2)
