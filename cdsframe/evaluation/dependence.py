"""Groups questions that are not independent: those with a common document or a common declared group.

Does not compute statistics (see `cdsframe.evaluation.statistics`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from cdsframe.types import Question


def connected(keys: Sequence[Iterable[Hashable]]) -> list[str]:
    """A group name for each question, from the keys that it shares with others.

    Questions with a common key, also through other questions, are in one group: the connected components. A question
    without keys is alone.
    """
    from scipy.cluster.hierarchy import DisjointSet

    tied: DisjointSet = DisjointSet(range(len(keys)))
    first: dict[Hashable, int] = {}
    for number, own in enumerate(keys):
        for key in own:
            tied.merge(number, first.setdefault(key, number))
    return [str(tied[number]) for number in range(len(keys))]


def question_groups(questions: Sequence[Question]) -> list[str]:
    """The group of each question: connected by documents of their evidence, and by their declared groups."""
    return connected([keys((evidence.document_id for evidence in q.evidence), q.group) for q in questions])


def keys(documents: Iterable[str], group: str) -> set[tuple[str, str]]:
    """What makes a question dependent on others: the documents of its answer, and its declared group if it has one."""
    return {("document", document) for document in documents} | ({("group", group)} if group else set())
