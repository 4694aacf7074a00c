"""Plans which tokens are computed together, so that tokens shared by several sequences are computed once.

A row is a tree of tokens in which each token attends to its ancestors only (tree attention, SpecInfer,
arXiv 2305.09781). A prefix that many rows share is computed before them. Does not compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import NamedTuple

ROW = 256
"""Maximum tokens that sequences of one row have beside those that they share with their neighbour or the prefix."""
PAIRS = 1500
"""Pairs of tokens whose attention a mask discards, that cost as much as the linear layers of one token."""
MASKED = 0.1
"""Share of its time that a sequence takes longer with a mask than with causal attention."""
PASS = 64
"""Tokens that cost as much as a forward pass costs beside its tokens."""
LEVELS = 50
"""Nested prefixes that are considered; bounds the recursion."""


class Wanted(NamedTuple):
    """A log-probability that is needed: of `token`, given a sequence up to and including place `place`."""

    place: int
    token: int
    pair: int
    """The index of the pair of context and target whose score it is part of."""


class TokenSequence(NamedTuple):
    """A sequence that the model reads, and the log-probabilities needed along it, by ascending place."""

    tokens: tuple[int, ...]
    wanted: list[Wanted]


@dataclass(slots=True)
class TokenTree:
    """A tree of tokens after a prefix; parents come before their children.

    Args:
        sequences: the sequences in the row.
        tokens: token ids.
        parents: for each token, the index of its parent in the row; -1: the last token of the prefix.
        positions: for each token, its index in its sequence, prefix included.
        wanted: the log-probabilities that are needed; `place` is an index in the row.
    """

    sequences: Sequence[TokenSequence]
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)

    @property
    def branches(self) -> bool:
        """Whether a token is not the child of the token before it."""
        return any(parent != place - 1 for place, parent in enumerate(self.parents))


class Batch(NamedTuple):
    """Rows that are computed in one forward pass, and the tokens that precede each of them."""

    prefix: tuple[int, ...]
    rows: list[TokenTree]


def sequences_of(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[TokenSequence]:
    """Returns the distinct sequences to read for pairs of context and target tokens, in lexicographic order.

    The last token of a target is predicted, not read. So all targets of one token share their context's sequence.
    A target without tokens needs no sequence.
    """
    found: dict[tuple[int, ...], list[Wanted]] = {}
    for pair, (context, target) in enumerate(pairs):
        if not target:
            continue
        wanted = found.setdefault((*context, *target[:-1]), [])
        wanted += (Wanted(len(context) - 1 + n, token, pair) for n, token in enumerate(target))
    return [TokenSequence(tokens, sorted(found[tokens])) for tokens in sorted(found)]


def chains(sequences: Sequence[TokenSequence], batch_tokens: int) -> Iterator[Batch]:
    """Yields batches in which each sequence is a row, so that tokens are computed once per sequence."""
    yield from _batched((), [grown([sequence], 0) for sequence in sequences], batch_tokens)


def trees(sequences: Sequence[TokenSequence], batch_tokens: int) -> Iterator[Batch]:
    """Yields batches of trees for sequences in lexicographic order.

    A batch has at most `batch_tokens` tokens, padding and a prefix per row included. A longer sequence is a
    batch alone.
    """
    if not sequences:
        return
    units = list(_merged(sequences, 0, batch_tokens))
    alone: list[list[TokenSequence]] = []
    for first, stop, prefix in _prefixes(_bounds(units), _unmasked(units), 0, len(units), LEVELS)[1]:
        if prefix:
            rows = _merged([*chain(*units[first:stop])], prefix, batch_tokens - prefix)
            yield from _batched(units[first][0].tokens[:prefix], [grown(row, prefix) for row in rows], batch_tokens)
        else:
            alone += units[first:stop]
    yield from _batched((), [grown(row, 0) for row in alone], batch_tokens)


def grown(sequences: Sequence[TokenSequence], prefix: int) -> TokenTree:
    """Returns the tree of sequences in lexicographic order, without their first `prefix` tokens, which are equal."""
    row, trail, before = TokenTree(sequences), list[int](), sequences[0].tokens[:prefix]
    for sequence in sequences:
        known = _shared(before, sequence.tokens)
        trail = trail[: known - prefix]
        for token in sequence.tokens[known:]:
            row.parents.append(trail[-1] if trail else -1)
            row.positions.append(prefix + len(trail))
            trail.append(len(row.tokens))
            row.tokens.append(token)
        row.wanted += (Wanted(trail[one.place - prefix], one.token, one.pair) for one in sequence.wanted)
        before = sequence.tokens
    return row


def _batched(prefix: tuple[int, ...], rows: Sequence[TokenTree], batch_tokens: int) -> Iterator[Batch]:
    """Yields batches of rows of similar length, the longest first, so that padding and passes cost the least."""
    rows = sorted(rows, key=lambda row: -len(row.tokens))
    costs, firsts = [0], [0]  # of the best batches of the first n rows; the first row of the last of these batches
    for stop in range(1, len(rows) + 1):
        found = []
        for first in range(stop - 1, -1, -1):
            count, width = stop - first, len(rows[first].tokens)
            if count > 1 and count * (len(prefix) + width) > batch_tokens:
                break
            found.append((costs[first] + PASS + count * width, first))
        cost, first = min(found)
        costs.append(cost)
        firsts.append(first)
    cuts = [len(rows)]
    while cuts[-1]:
        cuts.append(firsts[cuts[-1]])
    for stop, first in reversed([*pairwise(cuts)]):
        yield Batch(prefix, rows[first:stop])


def _merged(sequences: Sequence[TokenSequence], prefix: int, limit: int) -> Iterator[list[TokenSequence]]:
    """Yields the sequences of each row of at most `limit` tokens after the prefix; a longer sequence is a row alone.

    A row grows as long as the tokens that it shares cost more than the attention that its mask discards. After a prefix
    there is a mask anyway, and sequences that share nothing else are in one row, too.
    """
    row: list[TokenSequence] = []
    size = 0
    for sequence in sequences:
        known = _shared(row[-1].tokens, sequence.tokens) if row else prefix
        shared, new = known - prefix, len(sequence.tokens) - known
        discarded = size - shared
        pays = prefix > 0 or shared >= new * (discarded / PAIRS + MASKED)
        if row and not (pays and discarded + new <= ROW and size + new <= limit):
            yield row
            row, size, new = [], 0, shared + new
        row.append(sequence)
        size += new
    if row:
        yield row


def _bounds(units: Sequence[Sequence[TokenSequence]]) -> list[int]:
    """Returns, for each unit, how many of its first tokens a prefix common with the unit before it can have at most.

    The prefix ends before the first log-probability that is needed, which must be computed in a row.
    """
    own = [
        min(_shared(unit[0].tokens, unit[-1].tokens), *(sequence.wanted[0].place for sequence in unit))
        for unit in units
    ]
    between = [_shared(one[-1].tokens, other[0].tokens) for one, other in pairwise(units)]
    return [0, *(min(both) for both in zip(own, own[1:], between, strict=False))]


def _unmasked(units: Sequence[Sequence[TokenSequence]]) -> list[int]:
    """Returns, for each unit, the tokens that need a mask only if a prefix precedes them."""
    return [len(unit[0].tokens) if len(unit) == 1 else 0 for unit in units]


def _prefixes(
    bounds: Sequence[int], unmasked: Sequence[int], first: int, stop: int, levels: int
) -> tuple[float, list[tuple[int, int, int]]]:
    """Returns the tokens that the best prefixes of units `first` to `stop` save, and `(first, stop, prefix)` each."""
    alone = 0.0, [(first, stop, 0)]
    if stop - first == 1:
        return alone
    prefix = min(bounds[first + 1 : stop])
    saved = prefix * (stop - first - 1) - PASS - MASKED * sum(unmasked[first:stop])
    together = saved, [(first, stop, prefix)]
    if levels == 0:
        return max(together, alone)
    cuts = [first, *(n for n in range(first + 1, stop) if bounds[n] == prefix), stop]
    apart = [_prefixes(bounds, unmasked, *cut, levels - 1) for cut in pairwise(cuts)]
    return max(together, (sum(saved for saved, _ in apart), [*chain(*(groups for _, groups in apart))]))


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Returns the number of equal first tokens."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
