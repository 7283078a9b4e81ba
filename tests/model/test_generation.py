"""Generation against a plain loop over the module."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.families import TINY_FAMILIES, tiny, tiny_tokenizer
from torch import Tensor

from inscape.core import InputError
from inscape.model import Model, Pass, PositionEdit


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


def push_at(*positions: int) -> tuple[PositionEdit, list[int]]:
    """Adds 5 to some channels at fixed positions; and a list of how many tokens each pass had."""
    lengths: list[int] = []

    def push(x: Tensor, now: Pass) -> Tensor:
        lengths.append(x.shape[1])
        for position in positions:
            if now.offset <= position < now.offset + x.shape[1]:
                x[:, position - now.offset, :9] += 5.0
        return x

    return PositionEdit(push), lengths


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_edits_of_fixed_positions_use_the_cache_and_change_nothing(family: str) -> None:
    model = Model.wrap(tiny(family, eos_token_id=None))
    edit, lengths = push_at(2, 5, 11)
    got = model.generate(prompt(), 12, edits={"resid_post.1": edit, "mlp_out.0": edit})
    assert lengths == [4, 4] + [1] * 22
    slow = dict.fromkeys(("resid_post.1", "mlp_out.0"), replace(edit, fixed=False))
    assert torch.equal(got, model.generate(prompt(), 12, edits=slow))
    drawn = model.generate(prompt(), 12, edits={"resid_post.1": edit}, temperature=2.0)
    slow = {"resid_post.1": replace(edit, fixed=False)}
    assert torch.equal(drawn, model.generate(prompt(), 12, edits=slow, temperature=2.0))
    assert not torch.equal(got, model.generate(prompt(), 12))


def test_edits_of_both_kinds_see_the_whole_text() -> None:
    model = Model.wrap(tiny("llama", eos_token_id=None))
    edit, lengths = push_at(2)
    plain = model.generate(prompt(), 5, edits={"resid_post.1": edit})
    both = model.generate(prompt(), 5, edits={"resid_post.1": edit, "resid_post.2": lambda x: x})
    assert torch.equal(plain, both)
    assert lengths == [4, 1, 1, 1, 1, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_said_with_the_token(
    strength: float, temperature: float
) -> None:
    model = Model.wrap(tiny("gemma2", eos_token_id=None))

    def late(x: Tensor) -> Tensor:
        return x + strength * x if x.shape[1] > 5 else x

    with pytest.raises(InputError, match=r"not finite at new token 3; lower the strength") as error:
        model.generate(prompt(), 6, edits={"resid_post.2": late}, temperature=temperature)
    assert "\n" not in str(error.value)


def test_a_stream_whose_norm_overflows_is_said() -> None:
    """The norm makes zeros of it, and the head logits that are finite and mean nothing."""
    model = Model.wrap(tiny("llama", eos_token_id=None))
    change = {"resid_post.1": lambda x: x + 1e38}
    logits = model.run(prompt(), edits=change, logits="last").logits
    assert logits is not None
    assert logits.isfinite().all()
    with pytest.raises(InputError, match=r"not finite at new token 1; lower the strength"):
        model.generate(prompt(), 2, edits=change)
    model.generate(prompt(), 2, edits={"resid_post.1": lambda x: x + 1e15})


@pytest.mark.parametrize("temperature", [float("nan"), float("inf"), -1.0, None, "warm"])
def test_impossible_temperatures(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        Model.wrap(tiny("llama")).generate(prompt(), 2, temperature=temperature)


@pytest.mark.parametrize("number", [-1, 2.5, None, "5", True])
def test_impossible_numbers_of_tokens(number: Any) -> None:
    with pytest.raises(InputError, match="number of new tokens .*; expected a whole number"):
        Model.wrap(tiny("llama")).generate(prompt(), number)


def test_no_new_tokens_and_more_than_the_context_has() -> None:
    model = Model.wrap(tiny("llama"))
    assert torch.equal(model.generate(prompt(), 0), prompt())
    with pytest.raises(InputError, match="1000000000000 new ones do not fit; expected at most 64"):
        model.generate(prompt(), 10**12)


@pytest.mark.parametrize("seed", ["a", 1.5, 2**70, None])
def test_impossible_seeds(seed: Any) -> None:
    with pytest.raises(InputError, match="the seed .* expected -9223"):
        Model.wrap(tiny("llama")).generate(prompt(), 2, temperature=1.0, seed=seed)


def test_the_smallest_temperature_is_greedy() -> None:
    model = Model.wrap(tiny("llama", eos_token_id=None))
    cold = model.generate(prompt(), 8, temperature=5e-324)
    assert torch.equal(cold, model.generate(prompt(), 8))


def test_a_module_put_back_to_training_runs_without_dropout() -> None:
    module = tiny("gpt2", eos_token_id=None, resid_pdrop=0.5, embd_pdrop=0.5)
    model = Model.wrap(module)
    clean, text = model.run(prompt(), logits="all").logits, model.generate(prompt(), 5)
    module.train()
    module.transformer.h[0].mlp.eval()  # type: ignore[union-attr,index]
    assert torch.equal(model.run(prompt(), logits="all").logits, clean)
    assert torch.equal(model.generate(prompt(), 5), text)
    with pytest.raises(InputError):
        model.generate(prompt(), 99)
    assert module.training
    assert not module.transformer.h[0].mlp.training  # type: ignore[union-attr,index]
    assert module.transformer.h[1].mlp.dropout.training  # type: ignore[union-attr,index]


CHAT = "{% for m in messages %}<s>{{ m['content'] }}%s\n{% endfor %}"


def test_ends_are_those_of_config_generation_config_tokenizer_and_template() -> None:
    module = tiny("llama", eos_token_id=50, vocab_size=300)
    module.generation_config.eos_token_id = [51, 52]
    assert Model.wrap(module).end_ids == [50, 51, 52]
    tokenizer = tiny_tokenizer()
    assert Model.wrap(module, tokenizer).end_ids == [2, 50, 51, 52]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    turn = tokenizer.convert_tokens_to_ids("<turn>")
    tokenizer.chat_template = CHAT.replace("%s", "<turn>")
    assert Model.wrap(module, tokenizer).end_ids == sorted([2, 50, 51, 52, turn])
    # What is no special token ends nothing, nor does a template that refuses.
    tokenizer.chat_template = CHAT.replace("%s", " cat")
    assert Model.wrap(module, tokenizer).end_ids == [2, 50, 51, 52]
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert Model.wrap(module, tokenizer).end_ids == [2, 50, 51, 52]


def test_it_stops_at_an_end_that_only_the_generation_config_has() -> None:
    module = tiny("llama", eos_token_id=None)
    free = plain_greedy(module, prompt()[:1], 6)
    module.config.eos_token_id = 96
    module.generation_config.eos_token_id = [int(free[0, 5])]
    assert torch.equal(Model.wrap(module).generate(prompt()[:1], 6), free[:, :6])


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
