"""Prompts know their variables, number their passages, and give up passages before the question."""

import pytest

from cdsframe.errors import ConfigError, InputError
from cdsframe.prompt import Prompt
from cdsframe.types import Message, Passage

_SETTINGS = {
    "system": "Answer.",
    "system_closed_book": "Answer from memory.",
    "passage": "[{number}] {title} ({date}): {text}",
    "grounded": "{passages}\nQuestion: {question}",
    "closed_book": "Question: {question}",
    "refusal": "The documents do not answer this question.",
    "refusal_pattern": "the (documents?|context) (do|does) not ",
    "cites": True,
    "max_tokens": 40,
}


def _prompt(**changes):
    return Prompt(**{**_SETTINGS, **changes})


def _passage(number, text="one two three"):
    return Passage(f"p{number}", "d", "d#0", "passage", text, "Title", (), number, 0, 1, "x", {"date": "2025-01-02"})


def _words(messages):
    return sum(len(message.content.split()) for message in messages)


def test_passages_are_numbered_with_their_provenance():
    messages = _prompt().render("Why?", [_passage(1), _passage(2, "four\n five")])
    assert messages[-1].content == (
        "[1] Title (2025-01-02): one two three\n[2] Title (2025-01-02): four five\nQuestion: Why?"
    )


def test_braces_in_contents_are_text():
    messages = _prompt().render("What of {text}?", [_passage(1, "{question} {0}")])
    assert "{question} {0}" in messages[-1].content
    assert messages[-1].content.endswith("What of {text}?")


def test_without_passages_the_prompt_is_closed_book():
    messages = _prompt().render("Why?", [])
    assert [m.content for m in messages] == ["Answer from memory.", "Question: Why?"]


def test_the_lowest_passages_go_first():
    passages = [_passage(n) for n in range(10)]
    messages, shown = _prompt().fit(_words, "Why?", passages)
    assert 0 < shown < 10
    assert _words(messages) <= 40 < _words(_prompt().render("Why?", passages[: shown + 1]))
    assert messages[-1].content.endswith("Question: Why?")


def test_the_oldest_turns_go_before_any_passage():
    history = [
        Message("user", "old " * 30),
        Message("assistant", "older " * 5),
        Message("user", "u"),
        Message("assistant", "a"),
    ]
    messages, shown = _prompt().fit(_words, "Why?", [_passage(1)], history)
    assert shown == 1
    assert [m.content for m in messages[1:-1]] == ["u", "a"]


@pytest.mark.parametrize("passages", [[], [_passage(1)]])
def test_a_question_that_does_not_fit_is_refused_not_cut(passages):
    with pytest.raises(InputError, match="does not fit"):
        _prompt().fit(_words, "why " * 50, passages)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"passage": "{number} {text} {secret}"}, "has no variable {secret}"),
        ({"grounded": "{question}"}, "lacks the variable {passages}"),
        ({"closed_book": "{question"}, "prompt.closed_book"),
    ],
)
def test_a_template_knows_its_variables(change, said):
    with pytest.raises(ConfigError, match=said.replace("{", r"\{")):
        _prompt(**change)


def test_answers_are_taught_with_their_markers_and_refusals_without():
    assert _prompt().answer("15 mg", [2, 3]) == "15 mg [2] [3]"
    assert _prompt(cites=False).answer("15 mg", [2]) == "15 mg"
    assert _prompt().answer("", [1]) == _SETTINGS["refusal"]


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("The documents do not answer this question", True),
        ("the documents do not answer this question. [1]", True),
        ("", False),
        ("The document does not say so.", True),
        ("15 mg [1]", False),
        ("No. The documents do not", False),
    ],
)
def test_a_refusal_is_recognised(text, refuses):
    assert _prompt().refuses(text) is refuses
