"""What the entry points and adapters do with a model whose chat template is wrong, missing or changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_models import TEMPLATES, save_model, tokenizer
from entry_points import exit_code

from cdsframe.chat.encoding import chat_digest
from cdsframe.config import build, examine
from cdsframe.errors import AdapterMismatchError, ConfigError, InputError
from cdsframe.generator.transformers import TransformersGenerator
from cdsframe.model import LanguageModel
from cdsframe.quantization import NoQuantization

TRANSFORMERS = "generator.transformers.TransformersGenerator"
REFUSES = "{{ raise_exception('Only images') }}"


def model(folder: Any, template: str | None = "chatml", adapter: str | None = None, **settings: Any) -> LanguageModel:
    save_model(folder, tokenizer(template, **settings))
    return LanguageModel(str(folder), "float32", "sdpa", [], NoQuantization(), adapter)


def test_train_refuses_before_work_and_leaves_no_run(tmp_path, capfd):
    model(tmp_path / "base", REFUSES)
    overrides = [
        "data=hospital",
        "retriever=bm25",
        f"model.name={tmp_path / 'base'}",
        "quantization=none",
        "trainer=cpu",
    ]
    assert exit_code(tmp_path / "here", *overrides) == 2
    said = capfd.readouterr().err
    assert "train: the configuration is refused: model.name=" in said
    assert "Only images" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "here").rglob("config.yaml"))
    assert not list((tmp_path / "here").rglob("*.arrow"))


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    bare = model(tmp_path)
    for file in [*tmp_path.glob("tokenizer*"), *tmp_path.glob("chat_template*")]:
        file.unlink()
    with pytest.raises(InputError, match="its tokenizer cannot be read"):
        bare.examine()


class _Model:
    def __init__(self) -> None:
        self.examined = False

    def examine(self) -> None:
        self.examined = True


@pytest.mark.parametrize(
    ("groups", "examined"),
    [
        ({"training": "training.sft.sft"}, True),
        ({"training": "training.estimate.estimate"}, True),
        ({"training": "training.merge.merge"}, True),
        ({"training": "training.embedder.tune"}, False),
        ({"training": "training.reranker.tune"}, False),
        ({"generator": TRANSFORMERS}, True),
        ({"generator": "generator.openai.OpenAiGenerator"}, False),
        ({"generator": "generator.none.NoGenerator"}, False),
        ({"generator": TRANSFORMERS, "evaluation": "evaluation.qa.evaluate"}, True),
        ({"generator": "generator.openai.OpenAiGenerator", "evaluation": "evaluation.qa.evaluate"}, False),
        ({"generator": "generator.none.NoGenerator", "evaluation": "evaluation.mcq.evaluate"}, True),
        ({"generator": TRANSFORMERS, "evaluation": "evaluation.tune.evaluate"}, False),
    ],
)  # fmt: skip
def test_a_template_is_examined_where_the_model_is_talked_to(groups, examined):
    from omegaconf import OmegaConf

    asked = _Model()
    examine(OmegaConf.create({group: {"_target_": f"cdsframe.{path}"} for group, path in groups.items()}), asked)
    assert asked.examined is examined


def test_a_generator_is_refused_before_its_weights_are_loaded(tmp_path):
    refused = model(tmp_path, REFUSES)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model\.name=.*the chat template cannot print"):
        TransformersGenerator(refused, 8, 0.0, 1, 64, 1).load()


def test_a_model_without_a_template_carries_the_default_one_on(tmp_path, caplog):
    from transformers import AutoTokenizer

    made = model(tmp_path / "base", None)
    assert not AutoTokenizer.from_pretrained(tmp_path / "base").chat_template
    made.examine()
    assert "has no chat template" in caplog.text
    made.tokenizer.save_pretrained(tmp_path / "saved")
    assert chat_digest(AutoTokenizer.from_pretrained(tmp_path / "saved")) == chat_digest(made.tokenizer)


def test_new_tokens_stay_tokens_in_a_tokenizer_that_is_saved(tmp_path):
    from transformers import AutoTokenizer

    from cdsframe.chat.encoding import encode
    from cdsframe.types import Message

    save_model(tmp_path / "base", tokenizer("chatml"))
    made = LanguageModel(str(tmp_path / "base"), "float32", "sdpa", ["[drug]", "zzvelo"], NoQuantization(), None)
    made.tokenizer.save_pretrained(tmp_path / "saved")
    for one in (made.tokenizer, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        ids = encode(one, [Message("user", "the [drug] zzvelo")]).input_ids
        assert set(one.convert_tokens_to_ids(["[drug]", "zzvelo"])) <= set(ids)


# ------------------------------------------------------------------------------------------------ adapters


def adapter(folder: Any, **manifest: Any) -> str:
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"choices": {"model": "smollm2", "sweep": "None"}} | manifest))
    return str(folder)


def test_an_adapter_is_asked_with_the_tokens_that_it_learnt(tmp_path):
    made = model(tmp_path / "base", "gemma")
    trained = adapter(tmp_path / "demo", chat=chat_digest(made.tokenizer))
    made.with_adapter(trained).examine()
    (tmp_path / "base" / "chat_template.jinja").write_text(TEMPLATES["chatml"])
    with pytest.raises(AdapterMismatchError, match=r"another chat template.*train it again: python train.py model=sm"):
        made.with_adapter(trained).examine()


@pytest.mark.parametrize(("template", "kind", "works"), [
    ("chatml", "bytes", True), ("llama3", "bytes", True), ("llama2", "legacy", False), ("bare", "bytes", False),
    ("vicuna", "bytes", False),
])  # fmt: skip
def test_an_older_adapter_works_where_its_tokens_are_the_same(template, kind, works, tmp_path):
    made = model(tmp_path / "base", template, adapter(tmp_path / "demo"), kind=kind)
    if works:
        made.examine()
    else:
        with pytest.raises(
            AdapterMismatchError, match=r"an older cdsframe.* train it again: python train.py model=smollm2 name=demo"
        ):
            made.examine()


def test_a_models_own_build_hands_the_folder_on(tmp_path):
    """An adapter of SmolLM2 from before keeps working: the tokens are the same."""
    from omegaconf import OmegaConf

    node = OmegaConf.load("configs/model/smollm2.yaml")
    made = build(node, quantization=NoQuantization(), adapter=adapter(tmp_path / "demo"))
    made.examine()  # raises nothing
    assert made.adapter == str(tmp_path / "demo")
