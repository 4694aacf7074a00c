"""Questions that are not independent share a group: connected by documents and declared groups."""

from cdsframe.evaluation.dependence import connected, question_groups
from cdsframe.types import Evidence, Question


def same(groups: list[str]) -> list[list[int]]:
    """The places of each group's questions."""
    return [[place for place, other in enumerate(groups) if other == name] for name in dict.fromkeys(groups)]


def test_common_keys_connect_also_through_others() -> None:
    assert same(connected([["a"], ["b"], ["a", "c"], ["c", "d"], [], ["e"], []])) == [[0, 2, 3], [1], [4], [5], [6]]
    assert connected([]) == []


def test_documents_and_declared_groups_connect_questions() -> None:
    def question(group: str, *documents: str) -> Question:
        return Question("q", "?", "x", evidence=tuple(Evidence(name, 0, 1) for name in documents), group=group)

    asked = [
        question("fact 1", "page 1"),
        question("fact 2", "page 1", "page 2"),
        question("fact 3", "page 2"),
        question("fact 3"),
        question("page 1"),  # a group's name is no document's
        question(""),
        question(""),
    ]
    assert same(question_groups(asked)) == [[0, 1, 2, 3], [4], [5], [6]]
