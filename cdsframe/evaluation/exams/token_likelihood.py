"""Computes log-likelihoods of target tokens after context tokens; tokens that sequences share are computed once.

Before the first use of a module, each way of computing is compared with the module's plain forward pass, because
architectures differ in what they support. Does not tokenise and does not choose answers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from cdsframe.contracts import LanguageModel
from cdsframe.errors import InputError
from cdsframe.evaluation.exams.token_forward import Forward
from cdsframe.evaluation.exams.token_tree import Batch, TokenSequence, chains, grown, sequences_of, trees
from cdsframe.machine.memory import empty_cuda_cache, out_of_memory

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Nats by which a log-likelihood in float32 may differ from the plain forward pass."""
ROUNDING = 0.02
"""Share of a log-likelihood by which it may differ in lower precision, where another order of sums rounds otherwise.

SmolLM2 in bfloat16 differs by at most .011 with the right mask and by more than .04 with a wrong one.
"""
NO_NUMBERS = "its weights are damaged or overflow; try model.compute_dtype=float32, or replace the weights"

Pairs = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Token ids of context and target. A context has at least one token."""


class Way(NamedTuple):
    """A way of computing.

    Args:
        name: for the log.
        plan: divides sequences into batches.
        picks: whether the language-model head is computed at the needed positions only.
    """

    name: str
    plan: Callable[[Sequence[TokenSequence], int], Iterator[Batch]]
    picks: bool


SHARED = Way("shared tokens are computed once", trees, True)
SEPARATE = Way("each sequence is computed separately", chains, True)
PLAIN = Way("each sequence is computed separately, with the logits of all its tokens", chains, False)

Computed = tuple[Batch, Sequence[float]]
"""A batch, and the log-probability of each `wanted` of its rows."""

_PROVEN: WeakKeyDictionary[Any, Way] = WeakKeyDictionary()


def log_likelihoods(
    model: LanguageModel, pairs: Pairs, batch_tokens: int, computed: Callable[[int], object] | None = None
) -> list[float]:
    """Returns the natural log-likelihood of each target after its context. Softmax and sums use float32 or more.

    The result does not depend on the order of the pairs. In bfloat16 it depends slightly on the other pairs, because
    sums are rounded differently in other batches.

    Args:
        batch_tokens: maximum tokens of a forward pass, padding and shared prefixes included; a longer sequence is
            computed alone. Halved as often as memory is exceeded.
        computed: called with the number of pairs of each batch, for a progress bar.

    Raises InputError if a sequence is longer than the model reads, a log-likelihood is not finite, or memory does not
    suffice for one sequence.
    """
    module = model.load()
    _require_length(model, module, pairs)
    sequences = sequences_of(pairs)
    scores = _scores(len(pairs), _computed(model.name, module, sequences, batch_tokens, computed))
    if any(map(math.isnan, scores)):
        raise InputError(f"{model.name}: the model outputs NaN; {NO_NUMBERS}")
    if broken := sum(not math.isfinite(score) for score in scores):
        raise InputError(f"{model.name}: {broken} of {len(scores)} log-likelihoods are not finite; {NO_NUMBERS}")
    return scores


def _require_length(model: LanguageModel, module: Any, pairs: Pairs) -> None:
    longest = max((len(context) + len(target) for context, target in pairs), default=0)
    limit = _setting(module, "n_positions", "max_position_embeddings", "n_ctx")
    if limit is not None and longest > limit:
        raise InputError(
            f"a question has {longest} tokens, but {model.name} reads at most {limit}; "
            "show fewer passages (prompt.max_tokens, retriever.top_k), or use another model"
        )


def _setting(module: Any, *names: str) -> int | None:
    """Returns the smallest integer that the configuration of the text model has under one of the names."""
    config = module.config.get_text_config()
    values = [getattr(config, name, None) for name in names]
    return min((value for value in values if isinstance(value, int) and value > 0), default=None)


def _computed(
    name: str,
    module: Any,
    sequences: Sequence[TokenSequence],
    batch_tokens: int,
    report: Callable[[int], object] | None,
) -> Iterator[Computed]:
    """Yields batches with the log-probabilities that they need. If memory is exceeded, batches become smaller."""
    for way, left in _divided(module, sequences):
        forward, done = Forward(module, way.picks), set[tuple[int, ...]]()
        while left := [sequence for sequence in left if sequence.tokens not in done]:
            for batch in way.plan(left, batch_tokens):
                values = _unless_out_of_memory(forward, batch)
                if values is None:
                    batch_tokens = _halved(name, batch, batch_tokens)
                    break
                done.update(sequence.tokens for row in batch.rows for sequence in row.sequences)
                if report is not None:
                    report(len({one.pair for row in batch.rows for one in row.wanted}))
                yield batch, values


def _scores(count: int, computed: Iterable[Computed]) -> list[float]:
    """Sums the log-probabilities of each of `count` pairs."""
    found: list[list[float]] = [[] for _ in range(count)]
    for batch, values in computed:
        wanted = (one for row in batch.rows for one in row.wanted)
        for one, value in zip(wanted, values, strict=True):
            found[one.pair].append(value)
    return [math.fsum(values) for values in found]


def _unless_out_of_memory(forward: Forward, batch: Batch) -> list[float] | None:
    try:
        return forward(batch)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None


def _halved(name: str, batch: Batch, batch_tokens: int) -> int:
    """Returns half the tokens of a batch that exceeded memory. Raises InputError if it was one sequence."""
    if sum(len(row.sequences) for row in batch.rows) == 1:
        raise InputError(
            f"{name}: memory does not suffice for one question; use quantization=nf4, a smaller model, or fewer "
            "passages (prompt.max_tokens, retriever.top_k)"
        )
    empty_cuda_cache()
    size = len(batch.rows) * (len(batch.prefix) + max(len(row.tokens) for row in batch.rows))
    smaller = max(1, min(size, batch_tokens) // 2)
    log.warning("a batch of %d tokens exceeds the memory: continues with at most %d tokens a batch", size, smaller)
    return smaller


def _divided(module: Any, sequences: Sequence[TokenSequence]) -> list[tuple[Way, list[TokenSequence]]]:
    """Divides sequences by the best way that is right for them.

    The mask of a tree replaces the masks of layers that attend only to a window. It is right for sequences that are not
    longer than the window.
    """
    if module not in _PROVEN:
        _PROVEN[module] = _first_proven(module)
    way = _PROVEN[module]
    window = _setting(module, "sliding_window", "attention_chunk_size", "attention_window_size", "window_size")
    if way is not SHARED or window is None:
        return [(way, list(sequences))]
    inside, longer = (
        [sequence for sequence in sequences if (len(sequence.tokens) > window) is long] for long in (False, True)
    )
    return [(SHARED, inside), (SEPARATE, longer)]


def _first_proven(module: Any) -> Way:
    for way in (SHARED, SEPARATE):
        if _agrees(module, way):
            return way
        log.info("for this model, the following way of computing is not exact and is not used: %s", way.name)
    return PLAIN


def _agrees(module: Any, way: Way) -> bool:
    """Whether a way computes a small example as the plain forward pass does for one sequence after the other."""
    import torch

    pairs = _example(module.get_input_embeddings().weight.shape[0])
    sequences = sequences_of(pairs)
    expected = _scores(len(pairs), _run(Forward(module, PLAIN.picks), chains(sequences, 1)))
    planned = [[*chains(sequences, 10**6)]]
    if way is SHARED:
        planned = [
            [Batch(sequences[0].tokens[:known], [grown(sequences[:3], known), grown(sequences[3:], known)])]
            for known in (0, 8)
        ]
    try:
        found = [_scores(len(pairs), _run(Forward(module, way.picks), batches)) for batches in planned]
    except Exception as error:  # noqa: BLE001 (architectures raise any error for unsupported masks)
        log.debug("%s: %s", way.name, error)
        return False
    exact = {weight.dtype for weight in module.parameters()} <= {torch.float32, torch.uint8}  # uint8: NF4
    return all(
        abs(score - plain) <= (TOLERANCE if exact else -ROUNDING * plain)
        for scores in found
        for score, plain in zip(scores, expected, strict=True)
    )


def _run(forward: Forward, batches: Iterable[Batch]) -> Iterator[Computed]:
    for batch in batches:
        yield batch, forward(batch)


def _example(vocabulary: int) -> Pairs:
    """Pairs of different lengths that share their first tokens, with ids from the middle of the vocabulary."""
    ids = [(vocabulary // 2 + 7 * n) % vocabulary for n in range(60)]
    first, second = ids[:20], ids[:12] + ids[40:50]
    return [
        (first, ids[20:24]), (first, ids[30:31]), (first, ids[24:27]), (first + ids[27:33], ids[1:3]),
        (second, ids[50:56]), (second, ids[33:35]),
    ]  # fmt: skip
