"""The summed cross-entropy of the labelled tokens of a micro-batch. Does not choose what is labelled.

Logits are computed at labelled positions only, in chunks: never `[batch, length, vocabulary]`. If the output layer is
frozen, the gradient of the hidden states is computed with each chunk, so that no logits are kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from cdsframe.chat.encoding import IGNORED
from cdsframe.lora import base_of
from cdsframe.training.attention import NAME, Lengths

CHUNK = 256
"""Number of positions whose logits are in memory at a time."""


def loss_sum(model: Any, micro: dict[str, Any], plain: bool = True) -> torch.Tensor:
    """Returns the summed cross-entropy (nats) of a micro-batch's labelled tokens (see `Layout`), a float32 scalar.

    The decoder computes all positions, the output layer only the labelled ones.

    Args:
        plain: True: the logits are the output layer of the hidden states (see `head_alone`). False: the model
            computes the logits.
    """
    causal = base_of(model)
    inputs = {name: value for name, value in micro.items() if name != "labels"}
    targets = micro["labels"][:, 1:]
    wanted = targets != IGNORED
    if plain:
        hidden = causal.get_decoder()(**inputs, use_cache=False).last_hidden_state
        return cross_entropy_sum(causal.get_output_embeddings(), hidden[:, :-1][wanted], targets[wanted])
    columns = wanted.any(0).nonzero()[:, 0]
    logits = causal(**inputs, use_cache=False, logits_to_keep=columns).logits
    logits = logits if logits.shape[1] == len(columns) else logits[:, columns]  # the model ignores logits_to_keep
    some = wanted[:, columns]
    return functional.cross_entropy(logits[some].float(), targets[:, columns][some], reduction="sum")


def head_alone(model: Any) -> bool:
    """Whether the model's logits are its output layer applied to the hidden states; some models scale or cap them."""
    causal = base_of(model)
    ids = torch.tensor([[3, 4, 5]], device=causal.get_input_embeddings().weight.device)
    inputs = {"input_ids": ids, "position_ids": torch.arange(3, device=ids.device)[None], "lengths": Lengths([3])}
    if causal.config._attn_implementation != NAME:
        del inputs["lengths"]
    training = model.training
    model.eval()
    with torch.no_grad():
        own = causal(**inputs, use_cache=False).logits
        plain = causal.get_output_embeddings()(causal.get_decoder()(**inputs, use_cache=False).last_hidden_state)
    model.train(training)
    return torch.allclose(plain.float(), own.float(), rtol=1e-2, atol=1e-3 * float(own.abs().max()))


def cross_entropy_sum(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Returns the summed cross-entropy of `targets` in nats, a float32 scalar.

    Args:
        head: the output layer.
        hidden: hidden states `[n, dimension]` that predict the targets.
        targets: token ids `[n]`, int64.
    """
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
    """Summed cross-entropy of a frozen output layer `[vocabulary, dimension]`; softmax of `dtype` logits in float32."""

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
