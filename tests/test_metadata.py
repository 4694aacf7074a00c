"""Filters: what a role may see stays what a client may see, whatever the client asks for."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cdsframe.embedder import HashEmbedder
from cdsframe.fusion import ZScore
from cdsframe.metadata import STANDARD_FIELDS, Filter
from cdsframe.retriever.flat import Bm25, Hybrid
from cdsframe.testing import filled_index

VALUES = st.sampled_from(["a", "b", "c", ""])
FILTERS = st.dictionaries(st.sampled_from(STANDARD_FIELDS), VALUES | st.lists(VALUES, max_size=3), max_size=4)


def matches(filter, metadata):
    return all(metadata.get(field) in values for field, values in filter.items())


@settings(deadline=None)
@given(FILTERS, FILTERS, st.dictionaries(st.sampled_from(STANDARD_FIELDS), VALUES))
def test_a_narrowed_filter_matches_what_both_match_and_nothing_else(role, client, metadata):
    both = Filter(role).narrowed(client)
    assert matches(both, metadata) == (matches(Filter(role), metadata) and matches(Filter(client), metadata))


def test_it_is_a_mapping_that_does_not_change():
    given = {"kind": "note", "department": ["A", "B"]}
    filter = Filter(given)
    given["kind"] = "guideline"
    assert filter == {"kind": ["note"], "department": ("A", "B")}
    assert dict(filter) == {"kind": ("note",), "department": ("A", "B")}
    assert (len(filter), "kind" in filter, hash(filter)) == (2, True, hash(Filter(filter)))
    assert "note" not in repr(filter), "a value can name a patient"
    assert Filter({"kind": ["note", "protocol"]}) == Filter({"kind": ("protocol", "note", "note")})
    assert len({Filter({"kind": ["note", "protocol"]}), Filter({"kind": {"protocol", "note"}})}) == 1
    assert filter != {"kind": 3, "department": ["A", "B"]}
    assert not Filter()
    assert Filter() == {}


def test_a_role_and_a_client_that_exclude_each_other_find_nothing():
    index = filled_index()
    for retriever in (Bm25(4, 50, index), Hybrid(4, 50, index, HashEmbedder(), ZScore({}))):
        narrowed = Filter({"kind": "note"}).narrowed({"kind": "guideline"})
        assert not narrowed.satisfiable
        assert retriever.search("fever", filter=narrowed) == []
        both = Filter({"kind": ["note", "guideline"]}).narrowed({"kind": "guideline"})
        found = retriever.search("fever", filter=both)
        assert found
        assert all(hit.passage.metadata["kind"] == "guideline" for hit in found)
