"""Features, words, and a calibrator that finds the curve it was shown."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answering import PASSAGES, pipeline
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from cdsframe.artifacts.run import Run
from cdsframe.citations import check
from cdsframe.confidence import Calibrator, Identity, NoCalibration, identity_of, open_calibration, word
from cdsframe.config import build
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
    with pytest.raises(InputError, match="right and answers that are wrong"):
        Calibrator.fit([{"a": 1.0}, {"a": 2.0}], [True, True])


def test_a_calibration_is_saved_and_read_back(tmp_path: Path) -> None:
    calibrator = replace(Calibrator.fit(*sample(200)), threshold=0.4)
    calibrator.save(tmp_path / "calibration.json")
    assert open_calibration(str(tmp_path / "calibration.json"), {}) == calibrator
    assert isinstance(open_calibration(None, {}), NoCalibration)


SETTINGS: dict[str, Any] = {
    "adapter": None,
    "generator": {"_target_": "g", "max_new_tokens": 64, "batch_size": 8},
    "prompt": {"system": "Answer."},
    "retriever": {"top_k": 4},
    "fusion": {"weights": {"bm25": 1.0}},
    "reranker": {"_target_": "r"},
    "expansion": {},
    "context": {},
}


class Component:
    """Something with an identity."""

    def __init__(self, **identity: object) -> None:
        self.identity = identity


def composition(folder: Path, model: str = "smollm2", **settings: object) -> Identity:
    run = Run(folder / "run", "evaluate", SETTINGS | settings, "", {}, "")
    return identity_of(run, model=Component(name=model), embedder=Component(name="minilm"))


def test_a_calibration_of_another_composition_is_refused_by_what_differs(tmp_path: Path) -> None:
    file = str(tmp_path / "calibration.json")
    (tmp_path / "adapter").mkdir()
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    tuned = {"adapter": str(tmp_path / "adapter")}
    replace(Calibrator.fit(*sample(200)), identity=composition(tmp_path, **tuned)).save(file)

    assert open_calibration(file, composition(tmp_path, **tuned)).identity == composition(tmp_path, **tuned)
    moved = {"adapter": str(weights.parent.rename(tmp_path / "moved"))}
    quicker = {"generator": SETTINGS["generator"] | {"batch_size": 1}}
    open_calibration(file, composition(tmp_path, **moved, **quicker))  # neither changes an answer

    others: dict[str, dict[str, Any]] = {
        "another adapter .digest: '.*', not None": {"adapter": None},
        "another model .name: 'smollm2', not 'qwen'": {"model": "qwen"},
        "another prompt .system: 'Answer.', not 'Say.'": {"prompt": {"system": "Say."}},
        "another retriever .top_k: 4, not 6": {"retriever": {"top_k": 6}},
        "another fusion": {"fusion": {"weights": {"bm25": 2.0}}},
        "another reranker .depth: None, not 20": {"reranker": {"_target_": "r", "depth": 20}},
        "another context .mmr_lambda": {"context": {"mmr_lambda": 0.7}},
        "another generator .max_new_tokens: 64, not 8": {"generator": {"_target_": "g", "max_new_tokens": 8}},
    }
    for difference, settings in others.items():
        with pytest.raises(CalibrationMismatchError, match=difference) as raised:
            open_calibration(file, composition(tmp_path, **{**moved, **settings}))
        assert len(raised.value.problems) == 1
    (tmp_path / "moved" / weights.name).write_bytes(b"other weights")
    with pytest.raises(CalibrationMismatchError, match="another adapter"):
        open_calibration(file, composition(tmp_path, **moved))


def test_the_entry_points_compose_alike_so_that_a_calibration_fits_all(tmp_path: Path) -> None:
    found = []
    for primary, overrides in (("evaluate", ["evaluation=calibrate"]), ("ask", ["question=x"]), ("serve", [])):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(Path(__file__).parent.parent / "configs"), version_base="1.3"):
            cfg = compose(primary, overrides)
        groups = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in SETTINGS if key != "adapter"}
        run = Run(tmp_path, primary, {"adapter": cfg.adapter, **groups}, "", {}, "")
        built = {group: build(cfg[group]) for group in ("quantization", "embedder")}
        found.append(identity_of(run, model=build(cfg.model, **built, adapter=None), **built))
    assert found[0] == found[1] == found[2]
    assert json.loads(json.dumps(found[0])) == found[0]


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
