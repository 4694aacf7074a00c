"""The contract tests of every retriever: the behaviour that the pipeline and the evaluations rely on. Needs pytest.

class TestMyRetriever(RetrieverContract):
    @pytest.fixture
    def retriever(self):
        return MyRetriever(top_k=4, num_candidates=50, index=filled_index())
"""

from __future__ import annotations

import pytest

from cdsframe.contracts import Embedder, Index, Retriever
from cdsframe.embedder import HashEmbedder
from cdsframe.errors import InputError
from cdsframe.index.memory import MemoryIndex
from cdsframe.types import LegScore, Passage

WORDS = ["fever", "cough", "dose", "morphine", "leg", "plaster", "night", "ward"]
QUERIES = ["dose of morphine at night", "fever and cough", "a plaster for the leg"]


def filled_index(index: Index | None = None, embedder: Embedder | None = None) -> Index:
    """Writes thirty documents of three passages each, with their document and title records, and returns the index.

    Args:
        index: an empty index; None: a new one in memory.
        embedder: embeds the records; None: a `HashEmbedder`.
    """
    index = MemoryIndex({}) if index is None else index
    embedder = HashEmbedder() if embedder is None else embedder
    records = [record for number in range(30) for record in _document(number)]
    index.write(records, embedder.encode_passages([record.search_text for record in records]))
    index.commit()
    return index


def _document(n: int) -> list[Passage]:
    """A document with three passages of 20 characters, each with another pair of words."""
    name, metadata = f"d{n:02}", {"kind": "note" if n % 2 else "guideline"}
    title = f"{WORDS[n % 8]} {n}"
    whole = " ".join(f"{WORDS[n % 8]} {WORDS[(n + m) % 8]}" for m in range(3))
    found = [
        Passage(f"{name}/d", name, name, "document", whole, "", (), 0, 0, 60, "1", metadata),
        Passage(f"{name}/t", name, f"{name}#0", "title", "", title, (), 0, 0, 0, "1", metadata),
    ]
    for m in range(3):
        text = f"{WORDS[n % 8]} {WORDS[(n + m) % 8]} {n} {'.' * 20}"[:20]
        span = (20 * m, 20 * m + 20)
        found.append(Passage(f"{name}-{m}", name, f"{name}#0", "passage", text, title, (), m, *span, "1", metadata))
    return found


class RetrieverContract:
    """Inherit from it and define the fixture `retriever`, over `filled_index()`."""

    finds_all = True
    """Whether the retriever finds ten passages for each query of the contract; set it to False if it may find none."""

    def test_it_fulfils_the_protocol(self, retriever: Retriever) -> None:
        assert isinstance(retriever, Retriever)

    def test_a_longer_list_begins_with_the_shorter_one(self, retriever: Retriever) -> None:
        for query in QUERIES:
            long = retriever.search(query, 50)
            assert retriever.search(query, 5) == long[:5]
            assert retriever.search(query) == long[: retriever.top_k]
            assert [hit.rank for hit in long] == list(range(1, len(long) + 1))
            assert len({hit.passage.id for hit in long}) == len(long)

    def test_batched_queries_equal_single_queries(self, retriever: Retriever) -> None:
        assert retriever.search_many(QUERIES, 7) == [retriever.search(query, 7) for query in QUERIES]
        assert retriever.search_many([]) == []
        assert retriever.search(QUERIES[0], 0) == []

    def test_every_hit_names_its_legs(self, retriever: Retriever) -> None:
        for hit in retriever.search(QUERIES[0], 20):
            assert hit.parts
            assert all(isinstance(part, LegScore) for part in hit.parts.values())

    def test_a_filter_holds_for_every_hit(self, retriever: Retriever) -> None:
        hits = retriever.search(QUERIES[0], 10, {"kind": ["guideline"]})
        assert all(hit.passage.metadata["kind"] == "guideline" for hit in hits)
        if self.finds_all and retriever.searches:
            assert len(hits) == 10

    def test_an_unknown_filter_field_is_refused(self, retriever: Retriever) -> None:
        if not retriever.searches:
            return
        unknown = "unknown metadata field ward in the filter; the fields are kind, department"
        with pytest.raises(InputError, match=unknown):
            retriever.search(QUERIES[0], filter={"ward": "7"})
        near = r"unknown metadata field departement in the filter; did you mean department\?"
        with pytest.raises(InputError, match=near):
            retriever.search(QUERIES[0], filter={"departement": "7"})
