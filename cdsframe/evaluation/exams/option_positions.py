"""What an exam's accuracy owes to the letters: naive strategies, letters chosen, and shifted options.

Small models prefer letters regardless of their options (Zheng et al. 2024, arXiv 2309.03882). Does not run a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cdsframe.types import Choice


def shifts(choice: Choice) -> list[Choice]:
    """The question with its options moved cyclically over the letters; the first is the question itself.

    The average accuracy over the shifts does not depend on a preference for a letter.
    """
    letters, texts = list(choice.options), list(choice.options.values())
    right = letters.index(choice.answer)
    return [
        Choice(
            choice.id,
            choice.question,
            dict(zip(letters, texts[by:] + texts[:by], strict=True)),
            letters[(right - by) % len(letters)],
            choice.dataset,
            choice.group,
        )
        for by in range(len(letters))
    ]


def moved(letters: Sequence[str], letter: str, by: int) -> str:
    """The letter in the question itself of the option that has `letter` in the shift by `by`."""
    return letters[(letters.index(letter) + by) % len(letters)]


def majority(choices: Sequence[Choice]) -> list[float]:
    """What always answering the most frequent right letter scores, by question."""
    letter = Counter(choice.answer for choice in choices).most_common(1)[0][0]
    return [float(choice.answer == letter) for choice in choices]


def longest(choices: Sequence[Choice]) -> list[float]:
    """What always answering the longest option scores, by question; n options of that length count 1 / n."""
    found = []
    for choice in choices:
        most = max(map(len, choice.options.values()))
        best = [letter for letter, text in choice.options.items() if len(text) == most]
        found.append((choice.answer in best) / len(best))
    return found


def macro_f1(right: Sequence[str], chosen: Sequence[str | None]) -> float:
    """The mean F1 over the letters that are right or chosen; None (a tie) counts for no letter."""
    from sklearn.metrics import f1_score

    letters = sorted(set(right) | {letter for letter in chosen if letter is not None})
    given = ["" if letter is None else letter for letter in chosen]
    return float(f1_score(list(right), given, labels=letters, average="macro", zero_division=0.0))
