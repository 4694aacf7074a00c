"""Copies among question-answer pairs: word for word, and near-copies by MinHash (Broder, 1997) through datasketch.

Near-copies are candidates of the hashing whose Jaccard similarity was then counted. Pairs that state different numbers
are no copies of each other, however long they are. Does not look at evaluation sets (see `cdsframe.contamination`).
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from cdsframe.text.shingles import normalised, quantities, words
from cdsframe.types import Question

_SHINGLE = 5
"""Words of a shingle."""
_FEWEST_WORDS = 20
"""An answer of fewer words has too few shingles to tell a near-copy from an answer of its own."""
_PERMUTATIONS = 128
_SLACK = 0.1
"""How far below the threshold candidates are taken: the estimate of the hashing is that rough."""


def exact_copies(questions: Sequence[Question]) -> set[int]:
    """The places of pairs that stand before, but for case, punctuation and blanks; quantities must be the same."""
    seen: set[tuple[str, str, tuple[str, ...]]] = set()
    found = set()
    for place, question in enumerate(questions):
        key = (normalised(question.question), normalised(question.answer), _numbers(question))
        if key in seen:
            found.add(place)
        seen.add(key)
    return found


def near_copies(questions: Sequence[Question], threshold: float, passed_over: set[int]) -> set[int]:
    """The places of pairs much of which stands before: answers by 5-grams of words, questions by words.

    Args:
        threshold: the Jaccard similarity from which on they are copies.
        passed_over: places that are neither compared nor compared with.
    """
    from datasketch import MinHash, MinHashLSH

    hashed = MinHashLSH(threshold=max(threshold - _SLACK, 0.1), num_perm=_PERMUTATIONS)
    first = MinHash(num_perm=_PERMUTATIONS, hashfunc=crc32)
    shingled: dict[int, tuple[set[int], set[str], tuple[str, ...]]] = {}
    found = set()
    for place, question in enumerate(questions):
        listed = words(question.answer)
        if place in passed_over or len(listed) < _FEWEST_WORDS:
            continue
        runs = {" ".join(listed[at : at + _SHINGLE]).encode() for at in range(len(listed) - _SHINGLE + 1)}
        signature = first.copy()
        signature.update_batch(sorted(runs))
        own = {crc32(run) for run in runs}, set(words(question.question)), _numbers(question)
        if any(_alike(own, shingled[other], threshold) for other in hashed.query(signature)):
            found.add(place)
            continue
        shingled[place] = own
        hashed.insert(place, signature)
    return found


def _alike(
    one: tuple[set[int], set[str], tuple[str, ...]], other: tuple[set[int], set[str], tuple[str, ...]], threshold: float
) -> bool:
    pairs = zip(one[:2], other[:2], strict=True)
    return one[2] == other[2] and all(len(a & b) >= threshold * len(a | b) for a, b in pairs)  # type: ignore[operator]


def _numbers(question: Question) -> tuple[str, ...]:
    return tuple(quantities(question.question) + quantities(question.answer))
