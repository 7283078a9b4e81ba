"""The pretended GPU refuses what CUDA refuses, and computes what the CPU computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.fake_device import FAKE, model_on_fake
from tests.families import tiny, tiny_tokenizer
from torch import Tensor

from inscape.model import Model

MIXED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: a + b,
    "matmul": lambda a, b: a @ b.T,
    "index": lambda a, b: a[b.argmax(0) % 3],
    "index_add_": lambda a, b: torch.zeros(3, 4).index_add_(0, torch.arange(3), b),
    "cat": lambda a, b: torch.cat([a, b]),
    "where": lambda a, b: torch.where(b > 0, a, 0.0),
    "index_put_": lambda a, b: b.index_put_((torch.tensor([0]),), a[:1]),
    "einsum": lambda a, b: torch.einsum("ab,cb->ac", a, b),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixing_is_refused(name: str) -> None:
    a = torch.randn(3, 4)
    assert torch.isfinite(MIXED[name](a, a.clone())).all()
    with pytest.raises(RuntimeError, match="same device"):
        MIXED[name](a, a.to(FAKE))


def test_what_cuda_allows_is_allowed() -> None:
    a = torch.randn(3, 4)
    b = a.to("fake")
    assert b.device == FAKE == torch.zeros(2, device="fake").device
    assert torch.equal((b * torch.tensor(2.0)).cpu(), 2 * a)  # a scalar of the CPU
    assert torch.equal(b[torch.tensor([2, 0])].cpu(), a[[2, 0]])  # indices of the CPU
    b[:, 0] = torch.ones(3)  # a copy
    assert b[:, 0].tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(TypeError, match="cpu"):
        b.numpy()
    leaf = a.to("fake").requires_grad_()
    torch.autograd.backward((leaf * leaf).sum())
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad.cpu(), 2 * a)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_a_model_there_computes_the_same(family: str) -> None:
    model = Model.wrap(tiny(family, vocab_size=300), tiny_tokenizer())
    ids = model.prompt("the cat sat").tokens
    here, said = model.run(ids, logits="all").logits, model.generate(ids, 4)
    model_on_fake(model)
    assert model.device == FAKE
    there = model.run(ids.to(FAKE), logits="all").logits
    assert here is not None
    assert there is not None
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)
    assert model.generate(ids.to(FAKE), 4).tolist() == said.tolist()
