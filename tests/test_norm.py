"""Fused RMSNorm layers: results and gradients are the layer's own; other layers keep their computation."""

import pytest
import torch
from transformers.models.bamba.modeling_bamba import BambaRMSNormGated
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextRMSNormGated

from cdsframe.training import norm as norms
from cdsframe.training.norm import ROWS, RmsNorm, fuse_norms


def frozen(layer=LlamaRMSNorm, dtype=torch.float32):
    torch.manual_seed(0)
    made = layer(16).to(dtype).requires_grad_(False)
    made.weight.copy_(torch.rand(16) + 0.5)
    return torch.nn.Sequential(made)


def computed(model, x):
    given = x.clone().requires_grad_(True)
    result = model(given)
    result.backward(torch.linspace(-1, 1, result.numel()).view_as(result).to(result.dtype))
    return result.detach(), given.grad


@pytest.mark.parametrize("shape", [(16,), (1, 1, 16), (2, ROWS, 16), (1, 2 * ROWS + 3, 16)])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
def test_a_fused_norm_gives_the_layers_result_and_gradient(shape, dtype, allowed):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    wanted = computed(frozen(dtype=dtype), x)
    model = frozen(dtype=dtype)
    assert fuse_norms(model) == 1
    for one, other in zip(computed(model, x), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=allowed, atol=allowed)


def test_the_gradient_is_that_of_finite_differences():
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
    weight = torch.linspace(0.5, 1.5, 6, dtype=torch.float64)
    # Computed in float32, hence the wide step and tolerance.
    assert torch.autograd.gradcheck(
        lambda x: RmsNorm.apply(x, weight, 1e-6), x, eps=1e-2, atol=2e-3, rtol=2e-3, nondet_tol=1e-6
    )


def test_inputs_are_not_changed():
    x = torch.randn(3, 16)
    kept = x.clone()
    model = frozen()
    fuse_norms(model)
    computed(model, x)
    assert torch.equal(x, kept)


def test_other_layers_keep_their_computation(monkeypatch):
    trained = frozen()
    trained[0].weight.requires_grad_(True)
    assert fuse_norms(trained) == 0
    hooked = frozen()
    hooked[0].register_forward_hook(lambda *_: None)
    assert fuse_norms(hooked) == 0
    gemma = frozen(GemmaRMSNorm)  # multiplies by 1 + weight
    gemma[0].variance_epsilon = gemma[0].eps
    assert fuse_norms(gemma) == 0
    for gated in (
        lambda size: BambaRMSNormGated(size, size),
        Qwen3NextRMSNormGated,
    ):  # take a gate beside the hidden states
        assert fuse_norms(frozen(gated)) == 0
    plain = frozen()
    assert fuse_norms(plain) == 1 == fuse_norms(frozen()), "a layer that qualifies is fused"
    assert fuse_norms(plain) == 0, "only once"
    monkeypatch.setattr(norms.RmsNorm, "apply", lambda x, weight, epsilon: x * weight)
    assert fuse_norms(frozen()) == 0, "a wrong function is found"


def test_an_input_of_another_type_is_computed_plainly():
    model = frozen(dtype=torch.bfloat16)
    fuse_norms(model)
    x = torch.randn(4, 16)
    torch.testing.assert_close(model(x), frozen(dtype=torch.bfloat16)(x))
