"""Proportional samples of questions."""

from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.types import Question

QUESTIONS = [Question(f"f{n}", "q", "a", type="fact") for n in range(60)]
QUESTIONS += [Question(f"u{n}", "q", "", type="unanswerable") for n in range(20)]


def sample(limit, seed=1):
    return proportional_sample(QUESTIONS, limit, seed, by_type)


def test_each_type_keeps_its_share_and_the_order_stays() -> None:
    twelve = sample(12)
    assert [question.type for question in twelve].count("unanswerable") == 3
    assert [q.id for q in QUESTIONS if q in twelve] == [q.id for q in twelve]


def test_a_smaller_limit_gives_a_subset_and_another_seed_another_sample() -> None:
    assert set(sample(6)) < set(sample(12))
    assert sample(12) == sample(12) != sample(12, seed=2)


def test_a_limit_that_is_no_limit_gives_all_questions() -> None:
    assert sample(None) == sample(500) == QUESTIONS
