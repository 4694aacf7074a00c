"""The loss is the model's own: in chunks as at once, and of models that scale or cap their logits, gradients too."""

from copy import deepcopy

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    Qwen2Config,
)

from cdsframe.chat.encoding import IGNORED, Encoded
from cdsframe.training import loss as module
from cdsframe.training.attention import pack
from cdsframe.training.batches import Layout
from cdsframe.training.examples import Example
from cdsframe.training.loss import cross_entropy_sum, head_alone, loss_sum


@pytest.mark.parametrize("trained", [False, True], ids=["frozen head", "trained head"])
def test_chunks_change_neither_loss_nor_gradients(trained, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 7)
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=False).requires_grad_(trained)
    targets = torch.randint(0, 50, (23,))
    found = []
    for compute in (cross_entropy_sum, module._plain):
        hidden = torch.randn(23, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        head.zero_grad()
        loss = compute(head, hidden, targets)
        (loss / 3).backward()
        found.append((loss.detach(), hidden.grad, head.weight.grad))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=0)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
    assert (found[0][2] is not None) == trained
    if trained:
        torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-6)


SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize(
    ("config", "alone"),
    [
        (LlamaConfig(**SIZES), True),
        (Qwen2Config(**SIZES), True),
        (GraniteConfig(**SIZES, logits_scaling=8.0), False),
        (CohereConfig(**SIZES, logit_scale=0.0625), False),
        (Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=1.0, attn_logit_softcapping=None), False),
        (Gemma3TextConfig(**SIZES, head_dim=8, final_logit_softcapping=1.0), False),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_the_loss_is_the_models_own(config, alone, padded):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(deepcopy(config)).train()
    torch.nn.init.normal_(model.get_output_embeddings().weight)
    rows = [[5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22, 23, 24]]
    wanted = torch.zeros(())
    for row in rows:
        logits = model(input_ids=torch.tensor([row])).logits[0, 2:-1]
        wanted = wanted + torch.nn.functional.cross_entropy(logits, torch.tensor(row[3:]), reduction="sum")
    wanted.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad()
    packed = not padded and pack(model)
    examples = [Example(str(n), Encoded(row, [IGNORED] * 3 + row[3:])) for n, row in enumerate(rows)]
    assert head_alone(model) is alone
    loss = loss_sum(model, Layout(2, None, None if packed else 0).lay(examples), alone)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    loss.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-4, atol=1e-5)
