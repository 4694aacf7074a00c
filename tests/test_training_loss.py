"""The chunked loss computes what the plain one does, gradients too."""

import pytest
import torch

from cdsframe.training import loss as module
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
