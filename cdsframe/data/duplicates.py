"""Finds exact copies and near-copies among question-answer pairs.

Candidates of MinHash LSH (Broder, 1997; datasketch) are confirmed by their exact Jaccard similarity. Pairs with
different numbers are not copies. Does not compare with evaluation sets (see `cdsframe.contamination`).
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from cdsframe.text.shingles import normalised, quantities, words
from cdsframe.types import Question

_SHINGLE = 5
"""Number of words in a shingle."""
_FEWEST_WORDS = 20
"""Minimum words of an answer: shorter answers are not compared, since they have too few shingles."""
_PERMUTATIONS = 128
_SLACK = 0.1
"""Candidates may be this far below the threshold, since MinHash only estimates the similarity."""


def exact_copies(questions: Sequence[Question]) -> set[int]:
    """Returns the indices of pairs that repeat an earlier pair.

    Case, punctuation and blanks may differ; numbers must be equal.
    """
    seen: set[tuple[str, str, tuple[str, ...]]] = set()
    found = set()
    for place, question in enumerate(questions):
        key = (normalised(question.question), normalised(question.answer), _numbers(question))
        if key in seen:
            found.add(place)
        seen.add(key)
    return found


def near_copies(questions: Sequence[Question], threshold: float, ignored: set[int]) -> set[int]:
    """Returns the indices of pairs similar to an earlier pair, in word 5-grams of the answer and words of the question.

    Args:
        threshold: minimum Jaccard similarity, which the answers' 5-grams and the questions' words must both reach.
        ignored: indices of pairs that are not compared.
    """
    from datasketch import MinHash, MinHashLSH

    hashed = MinHashLSH(threshold=max(threshold - _SLACK, 0.1), num_perm=_PERMUTATIONS)
    first = MinHash(num_perm=_PERMUTATIONS, hashfunc=crc32)
    shingled: dict[int, tuple[set[int], set[str], tuple[str, ...]]] = {}
    found = set()
    for place, question in enumerate(questions):
        listed = words(question.answer)
        if place in ignored or len(listed) < _FEWEST_WORDS:
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
