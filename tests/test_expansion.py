"""Expansions: what is added to a question, and that a retriever stays one."""

from pathlib import Path

import numpy as np
import pytest
from test_retriever import MAKE

from cdsframe.contracts import Retriever
from cdsframe.embedder import HashEmbedder
from cdsframe.errors import InputError
from cdsframe.expansion.abbreviations import Abbreviations
from cdsframe.expansion.feedback import Feedback
from cdsframe.expansion.hyde import Hyde
from cdsframe.expansion.none import none
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.index.memory import MemoryIndex
from cdsframe.retriever.base import query_vectors
from cdsframe.retriever.flat import Bm25, Knn
from cdsframe.testing import filled_index
from cdsframe.testing.retriever import QUERIES
from cdsframe.types import Passage, Query

SHIPPED = "package:expansion/medical.tsv"


@pytest.fixture(scope="module")
def index():
    return filled_index()


def _written(messages):
    return "a plaster at night" if "plaster" in messages[-1].content else ""


WRAP = {
    "none": lambda retriever, index: none(retriever),
    "feedback": lambda retriever, index: Feedback(3, 20, 3, 2, retriever, index),
    "abbreviations": lambda retriever, index: Abbreviations(SHIPPED, retriever),
    "hyde": lambda retriever, index: Hyde("Answer: {question}", retriever, ScriptedGenerator(_written)),
}


@pytest.fixture(params=list(WRAP))
def expanded(request, index):
    return WRAP[request.param](MAKE["hybrid"](index), index)


def test_an_expanded_retriever_is_a_retriever(expanded):
    assert isinstance(expanded, Retriever)
    assert expanded.top_k == 4
    for query in QUERIES:
        assert expanded.search(query, 5) == expanded.search(query, 20)[:5]
    assert expanded.search_many(QUERIES, 7) == [expanded.search(query, 7) for query in QUERIES]
    assert expanded.search_many([]) == []
    assert expanded.search(QUERIES[0], 0) == []
    hits = expanded.search(QUERIES[0], 10, {"kind": "guideline"})
    assert {hit.passage.metadata["kind"] for hit in hits} == {"guideline"}


def test_where_nothing_is_retrieved_nothing_is_expanded(index):
    generator = ScriptedGenerator("x")
    assert Hyde("{question}", MAKE["none"](index), generator).search("a") == []
    assert generator.conversations == []


def test_the_oracles_still_know_the_question(index):
    gold = Abbreviations(SHIPPED, MAKE["gold"](index))
    assert gold.search(QUERIES[0]) == MAKE["gold"](index).search(QUERIES[0])


# ------------------------------------------------------------------------------------------------ feedback


def _passage(number, text, **metadata):
    return Passage(f"p{number}", f"d{number}", f"d{number}#0", "passage", text, "", (), 0, 0, len(text), "1", metadata)


@pytest.fixture(scope="module")
def letters():
    """Ten passages on gout, of which the two on its treatment name a drug; the last is in another's department."""
    made = MemoryIndex({})
    texts = ["gout treatment colchicine and rest", "gout treatment colchicine the dose", *["gout the big toe"] * 7]
    passages = [_passage(n, text, department="A") for n, text in enumerate(texts)]
    passages.append(_passage(9, "colchicine makes the sick", department="A"))
    passages.append(_passage(10, "gout treatment secretol secretol secretol", department="B"))
    made.write(passages, None)
    made.commit()
    return made


def test_feedback_adds_the_words_that_mark_the_first_passages(letters):
    feedback = Feedback(2, 20, 1, 3, Bm25(10, 50, letters), letters)
    (query,) = feedback.expand([Query.plain("gout treatment")], {"department": "A"})
    assert query == Query("gout treatment", "gout treatment gout treatment gout treatment colchicine", "gout treatment")
    found = [hit.passage.id for hit in feedback.search("gout treatment", 10, {"department": "A"})]
    assert found[:2] == ["p0", "p1"]
    assert "p9" in found, "it has none of the question's words"
    assert "p9" not in [hit.passage.id for hit in Bm25(10, 50, letters).search("gout treatment", 10)]


def test_feedback_says_nothing_of_what_the_filter_hides(letters):
    feedback = Feedback(5, 20, 20, 1, Bm25(10, 50, letters), letters)
    (query,) = feedback.expand([Query.plain("gout treatment")], {"department": "A"})
    assert "colchicine" in query.words
    assert "secretol" not in query.words
    (query,) = feedback.expand([Query.plain("gout treatment")], {})
    assert "secretol" in query.words


def test_feedback_without_hits_leaves_the_question(letters):
    feedback = Feedback(2, 20, 1, 3, Bm25(10, 50, letters), letters)
    assert feedback.expand([Query.plain("unheard")], {}) == [Query.plain("unheard")]


# ------------------------------------------------------------------------------------------------ abbreviations


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is the treatment of MI?", "What is the treatment of MI (myocardial infarction)?"),
        ("dose after Myocardial Infarction", "dose after Myocardial Infarction (MI)"),
        ("copd and COPD", "copd (chronic obstructive pulmonary disease) and COPD"),
        ("Which ED?", "Which ED (emergency department, erectile dysfunction)?"),
        ("a drip of saline, all day or night", "a drip of saline, all day or night"),
        ("Do all aids help?", "Do all aids help?"),
        ("DVT (deep vein thrombosis)", "DVT (deep vein thrombosis)"),
        ("AKIN SCOPD", "AKIN SCOPD"),
        ("U&E, A&E", "U&E (urea and electrolytes), A&E (accident and emergency)"),
        ("", ""),
    ],
)
def test_the_other_form_stands_behind_each(index, question, words):
    (query,) = Abbreviations(SHIPPED, MAKE["bm25"](index)).expand([Query.plain(question)], {})
    assert query == Query(question, words, words)


def test_the_shipped_list_has_no_line_twice():
    text = (Path(__file__).parent.parent / "cdsframe/expansion/medical.tsv").read_text(encoding="utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) > 200
    assert len({(line[0], line[1].casefold()) for line in lines}) == len(lines)
    assert [line[0] for line in lines] == sorted((line[0] for line in lines), key=str.casefold)
    words = {"all", "aids", "men", "hit", "gist", "pet", "echo", "nash", "or", "us"}
    assert not any(line[0].casefold() in words and line[2:] == ["any"] for line in lines)


def test_a_list_of_ones_own(index, tmp_path):
    file = tmp_path / "own.tsv"
    file.write_text("\ufeffKB\tkitchen bell\n# no more\n", encoding="utf-8")
    (query,) = Abbreviations(str(file), MAKE["bm25"](index)).expand([Query.plain("KB kb")], {})
    assert query.words == "KB (kitchen bell) kb"
    for text in ("KB\n", "KB\tx\tsome\n", "\tx\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"own\.tsv, line 1: expected abbreviation, tab, meaning"):
            Abbreviations(str(file), MAKE["bm25"](index)).search("x")
    file.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(InputError, match="contains no abbreviations"):
        Abbreviations(str(file), MAKE["bm25"](index)).search("x")
    file.write_bytes(b"KB\t\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        Abbreviations(str(file), MAKE["bm25"](index)).search("x")


# ------------------------------------------------------------------------------------------------ HyDE


def test_hyde_searches_the_mean_of_question_and_written_passage(index):
    embedder, generator = HashEmbedder(), ScriptedGenerator(_written)
    hyde = Hyde("Answer: {question}", Knn(4, 50, index, embedder), generator)
    asked = [Query.plain("a plaster for the leg"), Query.plain("fever")]
    expanded = hyde.expand(asked, {})
    assert generator.conversations[0][-1].content == "Answer: a plaster for the leg"
    assert expanded == [Query(*["a plaster for the leg"] * 3, ("a plaster at night",)), asked[1]]
    vectors = query_vectors(embedder, expanded)
    both = embedder.encode_queries([asked[0].text])[0] + embedder.encode_passages(["a plaster at night"])[0]
    assert np.allclose(vectors[0], both / np.linalg.norm(both), atol=1e-6)
    assert np.array_equal(vectors[1], embedder.encode_queries(["fever"])[0])
    assert hyde.search("a plaster for the leg") != Knn(4, 50, index, embedder).search("a plaster for the leg")
