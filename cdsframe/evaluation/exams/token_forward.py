"""Computes log-probabilities of a batch of token trees by a causal language model of transformers.

The language-model head is computed only at the positions that are needed, and a prefix only when it changes. Does not
check that the model supports this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cdsframe.evaluation.exams.token_tree import Batch, TokenTree

if TYPE_CHECKING:
    import torch

CHUNK = 64
"""Positions whose softmax is computed at once."""


class Forward:
    """Forward passes of one module.

    Args:
        module: the module, which maps `input_ids` to `logits`.
        picks: whether the head is computed at the needed positions only; otherwise at all positions.
    """

    def __init__(self, module: Any, picks: bool) -> None:
        self._module, self._picks = module, picks
        self._prefix: tuple[int, ...] = ()
        self._states: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, batch: Batch) -> list[float]:
        """Returns the natural log-probability of each `wanted` of each row, computed in float32."""
        import torch

        width = max(len(row.tokens) for row in batch.rows)
        device = next(self._module.parameters()).device
        with torch.inference_mode():
            ids = torch.tensor([row.tokens + [0] * (width - len(row.tokens)) for row in batch.rows], device=device)
            wanted = [(number, one.place, one.token) for number, row in enumerate(batch.rows) for one in row.wanted]
            places = list(dict.fromkeys((number, place) for number, place, _ in wanted))
            logits = self._logits(ids, places, self._arguments(batch, width, device))
            index = {both: n for n, both in enumerate(places)}
            at = torch.tensor([index[number, place] for number, place, _ in wanted], device=device)
            tokens = torch.tensor([token for *_, token in wanted], device=device)
            norms = torch.cat([part.float().logsumexp(-1) for part in logits.split(CHUNK)])
            found: list[float] = (logits[at, tokens].float() - norms[at]).tolist()
        return found

    def _arguments(self, batch: Batch, width: int, device: torch.device) -> dict[str, Any]:
        """The arguments of the module besides the tokens. A batch without branches and prefix needs no mask."""
        import torch

        if not batch.prefix and not any(row.branches for row in batch.rows):
            return {"use_cache": False} if self._picks else {}
        positions = torch.tensor([row.positions + [0] * (width - len(row.tokens)) for row in batch.rows], device=device)
        mask = torch.stack([_ancestors(row, len(batch.prefix), width) for row in batch.rows])[:, None].to(device)
        dtype = self._module.get_input_embeddings().weight.dtype
        added = torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill_(~mask, torch.finfo(dtype).min)
        cache = self._cache(batch.prefix, len(batch.rows)) if batch.prefix else None
        return {
            "attention_mask": added, "position_ids": positions, "past_key_values": cache,
            "use_cache": cache is not None,
        }  # fmt: skip

    def _cache(self, prefix: tuple[int, ...], rows: int) -> Any:
        """Keys and values of the prefix for each row. Those of the last prefix are kept."""
        import torch
        from transformers import DynamicCache

        if prefix != self._prefix:
            self._prefix, self._states = (), []
            device = next(self._module.parameters()).device
            computed: Any = DynamicCache()
            self._logits(
                torch.tensor([prefix], device=device), [(0, len(prefix) - 1)],
                {"past_key_values": computed, "use_cache": True},
            )  # fmt: skip
            self._prefix, self._states = prefix, [(layer.keys, layer.values) for layer in computed.layers]
        cache: Any = DynamicCache()
        for number, states in enumerate(self._states):
            cache.update(*(state[:, :, :0] for state in states), number)  # makes the layer
            layer = cache.layers[number]
            layer.keys, layer.values = (state.expand(rows, -1, -1, -1) for state in states)  # views, no copies
        return cache

    def _logits(self, ids: torch.Tensor, places: Sequence[tuple[int, int]], arguments: dict[str, Any]) -> torch.Tensor:
        """The logits at places (row, column); shape (places, vocabulary)."""
        rows, columns = [row for row, _ in places], [column for _, column in places]
        logits: torch.Tensor
        if not self._picks:
            logits = self._module(ids, **arguments).logits
            return logits[rows, columns]
        with _picked(self._module.get_output_embeddings(), rows, columns) as picked:
            logits = self._module(input_ids=ids, **arguments).logits
        return logits[0] if picked else logits[rows, columns]


@contextmanager
def _picked(head: Any, rows: list[int], columns: list[int]) -> Iterator[list[bool]]:
    """Gives the head only the hidden states at the places, as one sequence.

    The list is empty if the head was not called. What the module computes from the head's output (scaling, caps) needs
    no change.
    """
    called: list[bool] = []

    def pick(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        called.append(True)
        return given[0][rows, columns][None], *given[1:]

    handle = head.register_forward_pre_hook(pick)
    try:
        yield called
    finally:
        handle.remove()


def _ancestors(row: TokenTree, prefix: int, width: int) -> torch.Tensor:
    """Which tokens a row's tokens attend to: the prefix, their ancestors, themselves; shape (width, prefix + width).

    Padding attends to itself.
    """
    import torch

    attends = torch.eye(width, dtype=torch.bool)
    for place, parent in enumerate(row.parents):
        if parent >= 0:
            attends[place] |= attends[parent]
    return torch.cat([torch.ones(width, prefix, dtype=torch.bool), attends], dim=1)
