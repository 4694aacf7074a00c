"""Cuts a hit's passage to its most relevant consecutive sentences under a token budget.

The sentences are consecutive so that offsets and citations stay valid (`document.text[start:end]` is the passage's
text) and no reader takes distant sentences for neighbours. Does not rewrite text.
"""

from __future__ import annotations

import math
from dataclasses import replace

from cdsframe.context.words import meaningful
from cdsframe.contracts import Embedder
from cdsframe.text.sentences import sentences
from cdsframe.types import Hit


def extract(query: str, hit: Hit, tokens: int, embedder: Embedder) -> Hit:
    """The hit with its passage cut to at most `tokens` tokens. A single sentence that is longer stays whole.

    A sentence scores by the question's words it contains, weighted by their rarity in this passage. Words of title and
    heading do not count, since the prompt shows them anyway, unless the question has no others. Ties go to the earliest
    sentences.
    """
    passage = hit.passage
    begins = [start for start, _ in embedder.offsets(passage.text)]
    if len(begins) <= tokens:
        return hit
    spans = [(one.start, one.end) for one in sentences(passage.text)]
    sizes = [sum(start <= begin < end for begin in begins) for start, end in spans]
    worth = _worth(query, " ".join((passage.title, *passage.heading)), [passage.text[a:b] for a, b in spans])
    best, chosen = -1.0, (0, 0)
    for first in range(len(spans)):
        last, used = first, sizes[first]
        while last + 1 < len(spans) and used + sizes[last + 1] <= tokens:
            last += 1
            used += sizes[last]
        value = sum(worth[first : last + 1])
        if value > best:
            best, chosen = value, (first, last)
    start, end = spans[chosen[0]][0], spans[chosen[1]][1]
    cut = replace(passage, text=passage.text[start:end], start=passage.start + start, end=passage.start + end)
    return replace(hit, passage=cut)


def _worth(query: str, shown: str, texts: list[str]) -> list[float]:
    asked = meaningful(query)
    asked = asked - meaningful(shown) or asked
    found = [meaningful(text) & asked for text in texts]
    rarity = {word: math.log(1 + len(found) / max(1, sum(word in own for own in found))) for word in asked}
    return [sum(rarity[word] for word in sorted(own)) for own in found]
