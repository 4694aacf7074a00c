"""The measuring instruments: their clocks, percentiles and recall, and that every benchmark says what it does."""

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import measuring
from benchmarks.quality import Remembering, forms
from benchmarks.scale import recall
from benchmarks.vectors import Precomputed
from cdsframe.embedder import HashEmbedder
from cdsframe.testing import filled_index

ROOT = Path(__file__).parent.parent


def test_a_percentile_is_a_value_that_was_measured():
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert measuring.percentile(values, 0.5) == 3.0
    assert measuring.percentile(values, 0.95) == 5.0
    assert measuring.percentile([7.0], 0.95) == 7.0


def test_a_clock_counts_the_processor_of_this_process_and_of_a_server():
    with measuring.Clock([os.getpid()]) as clock:
        while clock._now()[1] - clock._start[1] < 0.1:
            pass
    assert clock.spent.cpu >= 0.1
    assert clock.spent.wall >= clock.spent.cpu * 0.9
    assert clock.spent.server == pytest.approx(clock.spent.cpu, abs=0.05)


def test_the_median_is_taken_of_each_clock_by_itself():
    spent = [measuring.Spent(1, 6, 0), measuring.Spent(2, 4, 1), measuring.Spent(3, 5, 2)]
    assert measuring.middle(spent) == measuring.Spent(2, 5, 1)


def test_forms_with_fixed_weights_are_not_changed_by_weights_that_an_index_has_stored():
    embedder = HashEmbedder(16)
    index = filled_index(embedder=embedder)
    for name, retriever in forms(Remembering(index), embedder):  # which has no annotations, so reading them fails
        assert name == "random" or retriever.search("fever", 3)


def test_recall_counts_what_was_found_of_the_truly_nearest():
    assert recall([[1, 2], [3, 9]], np.array([[2, 1], [3, 4]])) == 0.75


def test_precomputed_vectors_are_looked_up():
    embedder = Precomputed({"name": "x"}, {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0])})
    assert embedder.dimension == 2
    assert embedder.encode_queries(["b", "a"]).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(KeyError):
        embedder.encode_passages(["c"])


def test_a_sample_is_whole_pages_and_the_same_every_time(tmp_path, monkeypatch, real_data):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDSFRAME_DATA", str(real_data))
    file = measuring.sample(50)
    first = file.read_text(encoding="utf-8")
    file.unlink()
    assert measuring.sample(50).read_text(encoding="utf-8") == first
    assert 50 <= len(first.splitlines()) < 150


@pytest.mark.parametrize("name", ["evaluation", "ingest", "retrieval", "scale"])
def test_a_benchmark_says_what_it_measures(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="__main__")
    assert left.value.code == 0
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out


@pytest.mark.parametrize("width", [None, 60])
def test_altered_sentences_of_the_hospital_are_not_called_supported_and_verbatim_ones_are(width):
    from benchmarks import altered_statements as altered

    shares = {tally.name: tally.share for tally in altered.measure(list(altered.sections())[::6], width=width)}
    assert shares.pop("verbatim") >= 0.99
    assert shares.pop("paraphrased by code") >= 0.9
    assert {name: share for name, share in shares.items() if share > 0.1} == {}
    assert set(shares) == set(altered.ALTERED)


def test_the_altering_code_knows_nothing_of_the_rules():
    source = (ROOT / "benchmarks/altered_statements.py").read_text(encoding="utf-8")
    assert not any(
        name in source
        for name in ("cdsframe.claims", "cdsframe.text.tokens", "cdsframe.text.units", "cdsframe.text.markers")
    )
