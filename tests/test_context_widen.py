"""Hits widened to their sections and their neighbours, with true offsets and under a budget."""

import pytest
from answering import context

from cdsframe.chunking.section import SectionChunker
from cdsframe.context.widen import join
from cdsframe.embedder import NoEmbedder
from cdsframe.index.memory import MemoryIndex
from cdsframe.types import Document, Hit, LegScore, Passage, Section

TEXT = " ".join(f"Sentence number {n} says word{n}." for n in range(40)) + "\n\n" + "Another section. " * 20


@pytest.fixture(params=[0, 7], ids=["apart", "overlapping"])
def index(request):
    end = TEXT.index("\n\n")
    document = Document("d", "Title", TEXT, (Section(("One",), 0, end), Section(("Two",), end + 2, len(TEXT))))
    made = MemoryIndex({})
    made.write(SectionChunker(32, request.param, ["title", "heading"], [], None, NoEmbedder()).split(document), None)
    made.commit()
    return made


def hits(index, *ordinals):
    passages = index.passages(["d"])
    return [Hit(passages[n], 9.0 - i, i + 1, {"bm25": LegScore(1, 1.0)}) for i, n in enumerate(ordinals)]


def section(index, heading):
    return [p for p in index.passages(["d"]) if p.heading == (heading,)]


def test_off_by_default_and_then_nothing_is_looked_up():
    assert context().depth == 0
    assert context(neighbours=1).depth == context(merge_share=0.5).depth == 20


def test_joined_passages_have_true_offsets(index):
    whole = join(section(index, "One"))
    assert TEXT[whole.start : whole.end] == whole.text


def test_neighbours_are_added_within_the_section_only(index):
    last = len(section(index, "One")) - 1
    first, end = context(index, neighbours=1).select("x", hits(index, 0, last), 4)
    assert [hit.rank for hit in (first, end)] == [1, 2]
    passages = index.passages(["d"])
    assert (first.passage.start, first.passage.end) == (passages[0].start, passages[1].end)
    assert (end.passage.start, end.passage.end) == (passages[last - 1].start, passages[last].end)
    assert first.passage.id == passages[0].id
    assert first.parts == {"bm25": LegScore(1, 1.0)}
    assert TEXT[end.passage.start : end.passage.end] == end.passage.text


def test_a_hit_within_a_better_one_goes_and_the_next_moves_up(index):
    found = context(index, neighbours=1).select("x", hits(index, 1, 2, 5), 2)
    passages = index.passages(["d"])
    assert [hit.passage.id for hit in found] == [passages[1].id, passages[5].id]
    assert [hit.rank for hit in found] == [1, 2]


@pytest.mark.parametrize(("found", "merged"), [((3, 0), False), ((3, 0, 1, 2, 4, 5), True)])
def test_a_section_of_which_enough_was_found_becomes_one(index, found, merged):
    share = len(found) / len(section(index, "One")) if merged else 0.9
    first, *others = context(index, merge_share=share).select("x", hits(index, *found), 6)
    assert (first.passage.text == join(section(index, "One")).text) == merged
    assert len(others) == (0 if merged else 1)


def test_far_from_each_other_two_hits_of_a_section_are_widened_each_by_its_own_neighbours(index):
    passages = section(index, "One")
    found = context(index, neighbours=1, merge_share=1.0).select("x", hits(index, 1, 5), 2)
    assert [(hit.passage.start, hit.passage.end) for hit in found] == [
        (passages[n - 1].start, passages[n + 1].end) for n in (1, 5)
    ]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.29, 1.0])
def test_the_share_is_of_all_passages_of_the_section(index, share):
    """Whatever of the section was read for it."""
    whole = section(index, "One")
    for count in range(1, len(whole) + 1):
        (first, *_) = context(index, merge_share=share).select("x", hits(index, *range(count)), 1)
        assert (first.passage.text == join(whole).text) == (count >= share * len(whole))


class Near:
    """What widening may ask of an index, counted."""

    def __init__(self, index):
        self._index, self.read = index, 0

    def between(self, ranges):
        found = self._index.between(ranges)
        self.read += len(found)
        return found


def of_words(count):
    """An index with one section of so many passages of a word, and the passages."""
    made = MemoryIndex({})
    words = [Passage(f"p{n}", "d", "s", "passage", "word", "", (), n, 5 * n, 5 * n + 4, "1") for n in range(count)]
    made.write(words, None)
    made.commit()
    return made, words


def test_a_share_that_is_just_met_is_met():
    made, words = of_words(25)
    some = [Hit(passage, 1.0, 1) for passage in words[:17]]
    assert 17 / 0.68 < 25
    assert context(made, merge_share=0.68).select("x", some, 1)[0].passage.text == join(words).text


def test_of_a_long_document_only_what_is_near_is_read():
    made, long = of_words(5000)
    near, some = Near(made), [Hit(long[n], 1.0, 1) for n in (2000, 4000)]
    first, second = context(near, neighbours=2, merge_share=0.2).select("x", some, 2)
    assert (first.passage.start, first.passage.end) == (long[1998].start, long[2002].end)
    assert (second.passage.start, second.passage.end) == (long[3998].start, long[4002].end)
    assert near.read == 2 * (1 + 2 * 10)  # two hits make a fifth of ten passages: of more none becomes one


def test_no_passage_is_widened_beyond_the_budget(index):
    size = max(NoEmbedder().count(p.search_text) for p in index.passages(["d"]))
    for hit in context(index, neighbours=9, merge_share=0.01, widen_tokens=2 * size).select("x", hits(index, 3, 7), 4):
        assert NoEmbedder().count(hit.passage.search_text) <= 2 * size
        assert hit.passage.text != join(section(index, "One")).text
    (same, _) = context(index, neighbours=9, widen_tokens=16).select("x", hits(index, 3, 7), 4)
    assert same.passage == hits(index, 3)[0].passage
