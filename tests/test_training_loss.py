"""The chunked loss and the attention by products compute what the plain ones do, gradients too."""

import pytest
import torch

from cdsframe.training import loss as module
from cdsframe.training.attention import attend
from cdsframe.training.loss import cross_entropy_sum


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


@pytest.mark.parametrize("masked", [False, True], ids=["causal", "padded"])
def test_attention_by_products_is_as_exact_as_the_fused_kernel(masked):
    torch.manual_seed(0)
    exact = [torch.randn(2, heads, 24, 8).requires_grad_() for heads in (4, 2, 2)]
    seen = torch.ones(24, 24, dtype=torch.bool).tril().expand(2, 1, 24, 24).clone()
    if masked:
        seen[1, :, :, 18:] = False
    weight = torch.randn(2, 24, 4, 8)
    if masked:
        weight[1, 18:] = 0

    def gradients(compute, tensors):
        for tensor in tensors:
            tensor.grad = None
        result = compute(*tensors)
        (result.float() * weight).sum().backward()
        return result.float().detach() * (weight != 0), [tensor.grad.float() for tensor in tensors]

    def fused(q, k, v):
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)

    wanted, wanted_gradients = gradients(fused, exact)
    half = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    got, got_gradients = gradients(lambda q, k, v: attend(None, q, k, v, seen if masked else None)[0], half)
    torch.testing.assert_close(got, wanted, rtol=0.02, atol=0.02)
    for one, other in zip(got_gradients, wanted_gradients, strict=True):
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999
