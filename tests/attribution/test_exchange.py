"""Neurons exchanged between two prompts: chosen step by step, measured in the model as it is."""

from __future__ import annotations

import pytest
import torch
from tests.families import tiny, tiny_tokenizer

from inscape.attribution.exchange import Exchange, Swap, exchange
from inscape.core import InputError
from inscape.model import Model, counterparts

ONE, TWO = [1, 5, 9, 20, 33, 7], [1, 5, 41, 20, 33, 7]


@pytest.fixture(scope="module")
def model() -> Model:
    """Two prompts of which have different answers."""
    return Model.wrap(tiny("llama", seed=3))


def answer(model: Model, ids: list[int]) -> str:
    logits = model.run(torch.tensor([ids]), logits="last").logits
    assert logits is not None
    return model.token_text(int(logits[0, -1].argmax()))


def pair(model: Model) -> tuple[list[int], list[int]]:
    first = answer(model, ONE)
    for token in range(8, 97):
        two = [*ONE[:2], token, *ONE[3:]]
        if answer(model, two) != first:
            return ONE, two
    raise AssertionError("no such pair")


def test_all_neurons_give_what_the_model_says_with_them(model: Model) -> None:
    one, two = pair(model)
    found = exchange(model, one, two, neurons=10**6, rounds=1, controls=0)
    assert found.answers == (answer(model, one), answer(model, two))
    sites = [f"mlp_act.{n}" for n in range(3)]
    theirs = model.run(torch.tensor([two]), read=sites)
    own = model.run(torch.tensor([one]), read=sites)
    members = {(m.layer, m.position, m.neuron) for m in found.members}

    def put(n: int):  # type: ignore[no-untyped-def]
        def edit(x: torch.Tensor) -> torch.Tensor:
            y = x.clone()
            for layer, position, neuron in members:
                if layer == n:
                    y[0, position, neuron] = theirs[f"mlp_act.{n}"][0, position, neuron]
            return y

        return edit

    edits = {site: put(n) for n, site in enumerate(sites)}
    logits = model.run(torch.tensor([one]), edits=edits, logits="last").logits
    assert logits is not None
    p = logits[0, -1].softmax(-1)
    assert found.after[2] == model.token_text(int(p.argmax()))
    assert float(p.max()) >= found.after[1] - 1e-6
    for m in found.members[:5]:
        value = own[f"mlp_act.{m.layer}"][0, m.position, m.neuron]
        assert m.value == pytest.approx(float(value), abs=1e-6)


def test_more_rounds_do_at_least_as_well(model: Model) -> None:
    one, two = pair(model)
    by_rounds = [
        exchange(model, one, two, neurons=24, rounds=r, controls=0).after[1] for r in (1, 6)
    ]
    before = exchange(model, one, two, neurons=1, controls=0).before[1]
    assert by_rounds[1] >= by_rounds[0] - 1e-3
    assert by_rounds[1] > before


def test_random_sets_stand_beside_it(model: Model) -> None:
    one, two = pair(model)
    found = exchange(model, one, two, neurons=20, controls=5)
    assert found.controls.total == 5
    again = exchange(model, one, two, neurons=20, controls=5)
    assert again == found
    text = found.summary()
    assert "random ones instead:" in text
    assert Exchange.from_json(found.to_json()).members == found.members


def test_random_sets_are_as_many_and_others(model: Model) -> None:
    one, two = pair(model)
    swap = Swap(model, model.prompt(one), model.prompt(two))
    chosen, order = swap.choose(int(swap.others.argmax()), 30, 3)
    size = (swap.theirs - swap.values).abs()
    for seed in range(3):
        drawn = swap.alike(chosen, seed)
        assert int(drawn.sum()) == int(chosen.sum()) == len(order)
        assert not bool((drawn & chosen).any())
        assert float(size[drawn].mean()) == pytest.approx(float(size[chosen].mean()), rel=0.7)
    assert not torch.equal(swap.alike(chosen, 0), swap.alike(chosen, 1))


def test_only_given_places_are_exchanged(model: Model) -> None:
    """Position 4 as position 1 of the other prompt, and nothing else."""
    swap = Swap(model, model.prompt(ONE), model.prompt([*TWO, 11]), [(4, 1)])
    sites = [f"mlp_act.{n}" for n in range(3)]
    there = model.run(torch.tensor([[*TWO, 11]]), read=sites)
    for n, site in enumerate(sites):
        torch.testing.assert_close(swap.theirs[n, 4], there[site][0, 1])
    assert torch.equal(swap.theirs[:, :4], swap.values[:, :4])
    chosen, order = swap.choose(int(swap.others.argmax()), 12, 2)
    assert len(order)
    assert {int(p) for _, p, _ in chosen.nonzero()} == {4}


def test_prompts_of_different_lengths(model: Model) -> None:
    longer = [*TWO[:2], 11, *TWO[2:]]
    found = exchange(model, longer, ONE, neurons=30, controls=2)
    alone = set(range(len(longer))) - set(counterparts(longer, ONE))
    assert alone
    assert {one.position for one in found.members}.isdisjoint(alone)
    assert "without a counterpart in the other prompt" in found.summary()
    assert not exchange(model, ONE, TWO, neurons=30, controls=2).notes


def test_prompts_that_do_not_fit(model: Model) -> None:
    with pytest.raises(InputError, match="both prompts have the answer"):
        exchange(model, ONE, ONE)
    with pytest.raises(InputError, match="neurons 0"):
        exchange(model, ONE, TWO, neurons=0)


def test_labels_are_shown() -> None:
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)
    texts = ["the cat sat on the", "the dog sat on the", "the cat dog on the", "the cat sat the on"]
    first = answer(model, list(model.prompt(texts[0]).ids))
    for text in texts[1:]:
        if answer(model, list(model.prompt(text).ids)) != first:
            found = exchange(
                model, texts[0], text, neurons=3, controls=1, names=lambda d, f: "a name"
            )
            assert "a name [mlp_act." in found.summary()
            return
    raise AssertionError("this random model says the same after all of them")
