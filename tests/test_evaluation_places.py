"""Where relevant passages stand: clusters of queries, and rankings of sections."""

import logging

import pytest

from cdsframe.embedder import HashEmbedder
from cdsframe.evaluation.places import by_section, clusters, locate
from cdsframe.evaluation.retrieval import JudgedQuery
from cdsframe.index.memory import MemoryIndex
from cdsframe.types import Hit, Passage


def passage(document: str, section: int, number: int) -> Passage:
    id_ = f"{document}-{section}-{number}"
    return Passage(id_, document, str(section), "passage", id_, "", (), 10 * section + number, 0, 1, "1")


@pytest.fixture
def index() -> MemoryIndex:
    made = MemoryIndex({})
    passages = [passage(d, s, n) for d in "abcd" for s in range(2) for n in range(2)]
    made.write(passages, HashEmbedder().encode_passages([p.text for p in passages]))
    made.commit()
    return made


def test_queries_that_share_a_document_share_a_cluster_even_by_way_of_others(index: MemoryIndex) -> None:
    queries = [
        JudgedQuery("1", "x"),
        JudgedQuery("2", "x"),
        JudgedQuery("3", "x"),
        JudgedQuery("4", "x", "g"),
        JudgedQuery("5", "x", "g"),
    ]
    qrels = {
        "1": {"a-0-0": 1},
        "2": {"b-0-0": 1, "a-1-0": 1},
        "3": {"b-1-1": 1, "c-0-0": 0},
        "4": {"c-0-0": 1},
        "5": {"d-0-0": 1},
    }
    found = clusters(queries, qrels, locate(index, qrels))
    assert found[0] == found[1] == found[2] != found[3] == found[4]


def test_passages_that_the_index_does_not_have_are_counted(
    index: MemoryIndex, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert set(locate(index, {"1": {"a-0-0": 1, "gone": 2, "b-0-0": 0}})) == {"a-0-0"}
    assert "1 of 2 relevant passages" in caplog.text


def test_a_section_stands_where_its_first_passage_does(index: MemoryIndex) -> None:
    qrels = {"1": {"a-1-0": 1, "a-1-1": 2, "b-0-0": 1}}
    hits = [Hit(p, 0.0, 1) for p in (passage("a", 0, 0), passage("a", 1, 1), passage("a", 0, 1), passage("a", 1, 0))]
    rankings, judged = by_section({"1": hits}, qrels, locate(index, qrels))
    assert rankings == {"1": ["a 0", "a 1"]}
    assert judged == {"1": {"a 1": 2, "b 0": 1}}
