"""Log-likelihoods are kept: an exam that was killed computes only what is missing, and another token is another key."""

import sqlite3
from pathlib import Path

import pytest
from answering import language_model

from cdsframe.errors import InputError
from cdsframe.evaluation.exams import likelihood_cache
from cdsframe.evaluation.exams.likelihood_cache import cached_log_likelihoods
from cdsframe.evaluation.exams.token_likelihood import log_likelihoods

PAIRS = [([5, 6, 7], [8]), ([5, 6, 7], [9, 10]), ([5, 6], [8]), ([11, 12, 13, 14], [15])]
Pairs = list[tuple[list[int], list[int]]]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Receives the number of pairs of each call that computes; each computes two pairs, or those of one context."""
    counts: list[int] = []

    def counting(model, pairs, batch_tokens, report):
        counts.append(len(pairs))
        return log_likelihoods(model, pairs, batch_tokens, report)

    monkeypatch.setattr(likelihood_cache, "log_likelihoods", counting)
    monkeypatch.setattr(likelihood_cache, "_AT_ONCE", 2)
    return counts


def test_each_is_computed_once(computed: list[int], tmp_path: Path) -> None:
    model = language_model("tiny")
    wanted = log_likelihoods(model, PAIRS, 64)
    assert cached_log_likelihoods(model, PAIRS, 64, str(tmp_path)) == pytest.approx(wanted, abs=1e-4)
    assert computed == [2, 2]
    again = cached_log_likelihoods(model, [*PAIRS[::-1], ([5, 6, 7], [16]), PAIRS[0]], 64, str(tmp_path))
    assert computed == [2, 2, 1]
    assert again[:4] == pytest.approx(wanted[::-1], abs=1e-4)
    assert again[5] == again[3]
    assert (tmp_path / "log_likelihoods.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_killed_exam_keeps_what_was_computed(
    computed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = language_model("tiny")
    counting = likelihood_cache.log_likelihoods

    def killed(model, pairs, batch_tokens, report):
        if computed:
            raise KeyboardInterrupt
        return counting(model, pairs, batch_tokens, report)

    monkeypatch.setattr(likelihood_cache, "log_likelihoods", killed)
    with pytest.raises(KeyboardInterrupt):
        cached_log_likelihoods(model, PAIRS, 64, str(tmp_path))
    monkeypatch.setattr(likelihood_cache, "log_likelihoods", counting)
    cached_log_likelihoods(model, PAIRS, 64, str(tmp_path))
    assert computed == [2, 2]


def test_context_target_and_model_are_in_the_key(computed: list[int], tmp_path: Path) -> None:
    model = language_model("tiny")
    cached_log_likelihoods(model, [([1, 2, 3], [4])], 64, str(tmp_path))
    for other in (([1, 2], [3, 4]), ([1, 2, 3], [5]), ([12, 3], [4])):
        cached_log_likelihoods(model, [other], 64, str(tmp_path))
    another = language_model.__wrapped__("tiny")
    another._wanted_dtype = "bfloat16"
    cached_log_likelihoods(another, [([1, 2, 3], [4])], 64, str(tmp_path))
    assert computed == [1] * 5


def test_without_a_folder_nothing_is_stored(computed: list[int], tmp_path: Path) -> None:
    cached_log_likelihoods(language_model("tiny"), PAIRS, 64, None)
    assert computed == [4]
    assert not list(tmp_path.iterdir())


def test_the_options_of_a_context_are_computed_together(computed: list[int], tmp_path: Path) -> None:
    pairs: Pairs = [([number, 6, 7], [8 + n]) for number in (4, 5) for n in range(3)]
    cached_log_likelihoods(language_model("tiny"), pairs, 64, str(tmp_path))
    assert computed == [3, 3]


@pytest.mark.parametrize("stored", [True, False])
def test_one_bar_counts_every_option_once(
    stored: bool, computed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tuple[int, list[int]]] = []

    class Bar:
        def __init__(self, total: int, initial: int = 0, disable: bool = False, **_: object) -> None:
            assert not disable
            self.counts: list[int] = [initial]
            bars.append((total, self.counts))

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, count: int) -> None:
            self.counts.append(count)

    pairs: Pairs = [([number, 6, 7], [8 + n, 5]) for number in range(20, 60) for n in range(4)]
    monkeypatch.setattr("tqdm.tqdm", Bar)
    cached_log_likelihoods(language_model("tiny"), pairs, 64, str(tmp_path) if stored else None)
    ((total, counts),) = bars
    assert total == sum(counts) == len(pairs)
    assert len(counts) > 3


@pytest.mark.parametrize("value", ['"x"', "NaN", "null", "{}"])
def test_values_that_are_no_numbers_are_refused(value: str, computed: list[int], tmp_path: Path) -> None:
    model = language_model("tiny")
    cached_log_likelihoods(model, PAIRS, 64, str(tmp_path))
    with sqlite3.connect(tmp_path / "log_likelihoods.sqlite") as database:
        database.execute("UPDATE log_likelihoods SET value = ?", [value])
    database.close()
    with pytest.raises(InputError, match=r"evaluation.cache: .*log_likelihoods.sqlite cannot be used"):
        cached_log_likelihoods(model, PAIRS, 64, str(tmp_path))
