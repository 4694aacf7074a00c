"""What a person sees of hits: titles, legs, and where the question's words stand."""

import io

import pytest
from answering import pipeline
from rich.console import Console

from cdsframe.serving.terminal import show_answer, show_hits
from cdsframe.types import Hit, LegScore, Passage


def shown(text: str, question: str, title: str = "Guide", width: int = 100, color: bool = False) -> str:
    passage = Passage("p", "d", "d#0", "passage", text, title, ("Cleaning", "Rooms"), 0, 0, len(text), "1")
    parts = {"bm25": LegScore(3, 7.25), "document.knn": LegScore(12, 0.5)}
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False, force_terminal=color)
    show_hits([Hit(passage, 1.5, 1, parts)], question, console)
    return out.getvalue()


def test_title_heading_score_and_legs_are_shown() -> None:
    text = shown("Use chlorine.", "chlorine?")
    assert "1  Guide > Cleaning > Rooms  1.500" in text
    assert "bm25 3 (7.25)   document.knn 12 (0.50)" in text


def test_the_part_with_most_words_of_the_question_is_shown() -> None:
    far = "Other matters stand here. " * 60 + "After norovirus clean with chlorine. " + "More of the same. " * 60
    text = " ".join(shown(far, "Which chlorine after norovirus?").split())
    assert "After norovirus clean with chlorine." in text
    assert text.count("…") == 2
    assert len(text) < 500


def test_the_words_of_the_question_are_underlined_in_any_number_and_no_others() -> None:
    text = shown("Wards are cleaned with chlorine.", "Is the ward cleaned?", color=True)
    assert "\x1b[1;4mWards\x1b[0m are \x1b[1;4mcleaned\x1b[0m with chlorine" in text


@pytest.mark.parametrize("text", ["[bold]x[/bold] \x1b[31mred\x1b[0m", "x" * 2000, "", "\u202eevil x"])
def test_what_is_shown_stays_text(text: str) -> None:
    assert "\x1b" not in shown(text, "x")
    assert "[bold]" in shown("[bold]x[/bold]", "x")


def test_nothing_found_is_said() -> None:
    out = io.StringIO()
    show_hits([], "x", Console(file=out))
    assert "No passages" in out.getvalue()


def test_an_answer_shows_a_sentence_only_where_it_supports_the_answer() -> None:
    def answered(said: str) -> str:
        out = io.StringIO()
        show_answer(pipeline(said).answer("What is the loading dose?"), Console(file=out, width=120))
        return out.getvalue()

    assert "    The loading dose of velorapine is 4.5 mg." in answered("The loading dose is 4.5 mg [1].")
    wrong = answered("The loading dose is not 4.5 mg [1].")
    assert "    The loading dose of velorapine is 4.5 mg." not in wrong
    assert "confidence: unsupported" in wrong
