"""Generation against a plain loop over the module."""

from __future__ import annotations

import pytest
import torch
from tests.families import TINY_FAMILIES, tiny
from torch import Tensor

from inscape.core import InputError
from inscape.model import Model


def prompt() -> Tensor:
    return torch.tensor([[1, 7, 9, 30], [1, 50, 51, 52]])


def plain_greedy(module: torch.nn.Module, ids: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        with torch.no_grad():
            ids = torch.cat([ids, module(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    return ids


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_greedy_with_and_without_the_cache(family: str) -> None:
    model = Model.wrap(tiny(family, eos_token_id=None))
    expected = plain_greedy(model.module, prompt(), 12)
    assert torch.equal(model.generate(prompt(), 12), expected)
    assert torch.equal(model.generate(prompt(), 12, edits={"embed": lambda x: x}), expected)


def test_edits_apply_to_the_whole_text_at_every_step() -> None:
    model = Model.wrap(tiny("llama", eos_token_id=None))
    lengths: list[int] = []

    def push(x: Tensor) -> Tensor:
        lengths.append(x.shape[1])
        x[:, 2] += 5.0
        return x

    def hook(module: torch.nn.Module, args: object, output: Tensor) -> Tensor:
        output[:, 2] += 5.0
        return output

    got = model.generate(prompt(), 6, edits={"resid_post.1": push})
    assert lengths == [4, 5, 6, 7, 8, 9]
    handle = model.module.model.layers[1].register_forward_hook(hook)
    expected = plain_greedy(model.module, prompt(), 6)
    handle.remove()
    assert torch.equal(got, expected)
    assert not torch.equal(got, model.generate(prompt(), 6))


def test_sampling_follows_seed_and_temperature() -> None:
    model = Model.wrap(tiny("llama", eos_token_id=None))
    one = model.generate(prompt(), 8, temperature=1.0, seed=3)
    assert torch.equal(one, model.generate(prompt(), 8, temperature=1.0, seed=3))
    assert not torch.equal(one, model.generate(prompt(), 8, temperature=1.0, seed=4))
    cold = model.generate(prompt(), 8, temperature=1e-4, seed=3)
    assert torch.equal(cold, model.generate(prompt(), 8))


def test_sampling_has_the_models_distribution() -> None:
    model = Model.wrap(tiny("llama", eos_token_id=None))
    many = prompt()[:1].repeat(4000, 1)
    logits = model.run(prompt()[:1], logits="last").logits
    assert logits is not None
    drawn = model.generate(many, 1, temperature=0.7, seed=0)[:, -1]
    share = torch.bincount(drawn, minlength=97) / len(many)
    expected = (logits[0, 0] / 0.7).softmax(-1)
    deviation = (share - expected).abs() / (expected * (1 - expected) / len(many)).sqrt()
    assert deviation.max() < 5  # standard errors


def test_an_ended_row_goes_on_with_its_end() -> None:
    module = tiny("llama", eos_token_id=None)
    free = plain_greedy(module, prompt(), 6)
    one, other = free[0, 4:].tolist(), free[1, 4:].tolist()
    at = next(i for i, new in enumerate(one) if new not in other and new not in one[:i])
    module.config.eos_token_id = one[at]
    got = Model.wrap(module).generate(prompt(), 6)
    assert torch.equal(got[1], free[1])
    assert got[0, 4:].tolist() == one[:at] + [one[at]] * (6 - at)
    assert at < 5


def test_it_stops_when_every_row_has_ended() -> None:
    module = tiny("llama", eos_token_id=None)
    free = plain_greedy(module, prompt()[:1], 6)
    module.config.eos_token_id = [96, int(free[0, 5])]
    assert torch.equal(Model.wrap(module).generate(prompt()[:1], 6), free[:, :6])


def test_a_prompt_that_has_already_ended_goes_on() -> None:
    module = tiny("llama", eos_token_id=30)
    assert Model.wrap(module).generate(prompt()[:1], 3).shape == (1, 7)


def test_it_must_fit_the_context() -> None:
    model = Model.wrap(tiny("gpt2"))
    assert model.generate(prompt(), 60).shape[1] <= 64
    with pytest.raises(
        InputError, match="4 tokens of text and 61 new ones do not fit.*or write fewer tokens"
    ):
        model.generate(prompt(), 61)
