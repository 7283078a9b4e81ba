"""Circuits: units exchanged and ablated as plain hooks do it, members found, figures measured."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.attribution.random_transcoders import random_dictionary
from tests.families import tiny, tiny_tokenizer

from inscape.circuits import Behaviour, Circuit, Example, Unit, Units, circuit, rank
from inscape.circuits.circuit import _halves, _Worth
from inscape.circuits.measures import Ablator, areas
from inscape.core import InputError
from inscape.model import Model

WORDS = ["cat", "dog", "zebra", "boat", "Paris", "the", "on"]


@pytest.fixture(scope="module")
def model() -> Model:
    tokenizer = tiny_tokenizer()
    return Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)


def said(model: Model, text: str) -> str:
    logits = model.run(model.prompt(text), logits="last").logits
    assert logits is not None
    return model.token_text(int(logits[0, -1].argmax()))


@pytest.fixture(scope="module")
def examples(model: Model) -> list[Example]:
    """Two prompts that differ in a word, each with what the model says to it as the answer."""
    found = []
    for start in ("the", "a", "one", "Rome"):
        for one in WORDS:
            for two in WORDS:
                prompt, other = (f" {start} {word} sat on the" for word in (one, two))
                if len(model.prompt(prompt)) != len(model.prompt(other)):
                    continue  # of as many tokens
                answers = said(model, prompt), said(model, other)
                if answers[0] != answers[1] and all(a.strip() for a in answers):
                    at = len(start) + 2
                    roles = {"word": (at, at + len(one))}
                    others = {"word": (at, at + len(two))}
                    found.append(
                        Example(
                            prompt, answers[:1], answers[1:], other, roles, others, f"{start} _"
                        )
                    )
    assert len(found) >= 8
    return found


def test_tokens_have_roles(model: Model, examples: list[Example]) -> None:
    units = Units(model, ["heads"])
    behaviour = Behaviour(model, examples, units)
    assert behaviour.roles == ["word", "elsewhere", "last"]
    for batch in behaviour.batches:
        total = torch.stack(list(batch.roles.values())).sum(0)
        assert bool((total == 1).all())  # one role for each token
        assert bool(batch.roles["last"][:, -1].all())
        for row in range(len(batch)):
            ids = batch.tokens[row][batch.roles["word"][row]].tolist()
            assert "".join(map(model.token_text, ids)).strip() in WORDS


def test_prompts_of_different_lengths_meet_role_by_role(model: Model) -> None:
    one = Example(
        " the cat sat", (" a",), (" b",), " the big old cat sat", {"who": (5, 8)}, {"who": (5, 16)}
    )
    row = Behaviour(model, [one], Units(model, ["heads"])).rows[0]
    ends = [n for n, role in enumerate(row.roles) if role == "who"]
    assert row.aligned[-1] == len(row.other) - 1
    assert row.aligned[ends[-1]] == len(row.other) - 3  # behind it: " sat" and a fed-in space
    wrong = replace(one, other_roles={}, place="line 7")
    with pytest.raises(InputError, match="line 7: its roles are .*who.*, those of the other"):
        Behaviour(model, [wrong], Units(model, ["heads"]))


def test_answers_that_begin_alike_are_refused_by_line(model: Model) -> None:
    one = Example(" the cat", (" sat",), (" sat on",), " the dog", place="line 3")
    with pytest.raises(InputError, match="line 3: .*no token tells them apart"):
        Behaviour(model, [one], Units(model, ["heads"]))


@pytest.mark.parametrize("kind", ["heads", "mlps", "features"])
def test_an_exchange_is_what_a_hook_makes_of_it(
    kind: str, model: Model, examples: list[Example]
) -> None:
    site = {"heads": "attn_head.1", "mlps": "mlp_act.1", "features": "resid_post.1"}[kind]
    dictionary = random_dictionary("resid_post.1", "resid_post.1", d=model.d_model)
    units = Units(model, [kind], [dictionary])
    behaviour = Behaviour(model, examples[:6], units)
    code = (
        dictionary.encode(model.run(behaviour.batches[0].tokens, read=[site])[site][0, -1:])
        if kind == "features"
        else None
    )
    index = 2 if kind == "heads" else int(code.indices[0, 0]) if code is not None else 0
    unit = units.unit(site, index, "last")
    outcomes = behaviour.exchanged([unit])
    for batch, leads in _by_batch(behaviour, outcomes.leads):
        given = model.run(batch.others, read=[site])[site]

        def hook(x: torch.Tensor, given: torch.Tensor = given) -> torch.Tensor:
            x = x.clone()
            if kind == "heads":
                width = x.shape[-1] // 4
                x[:, -1, 2 * width : 3 * width] = given[:, -1, 2 * width : 3 * width]
            elif kind == "mlps":
                x[:, -1] = given[:, -1]
            else:
                both = [_activation(dictionary, y[:, -1], index) for y in (given, x)]
                x[:, -1] += (both[0] - both[1])[:, None] * dictionary.W_dec[index]
            return x

        logits = model.run(batch.tokens, edits={site: hook}, logits="last").logits
        assert logits is not None
        torch.testing.assert_close(
            batch.lead(logits[:, -1]), torch.tensor(leads), atol=1e-4, rtol=1e-4
        )


def _activation(dictionary: Any, x: torch.Tensor, index: int) -> torch.Tensor:
    code = dictionary.encode(x)
    return ((code.indices == index) & code.active).float().mul(code.values).sum(-1)


def _by_batch(behaviour: Behaviour, values: list[float]) -> Any:
    first = 0
    for batch in behaviour.batches:
        yield batch, values[first : first + len(batch)]
        first += len(batch)


def test_ablation_leaves_the_members(model: Model, examples: list[Example]) -> None:
    units = Units(model, ["heads", "mlps"])
    behaviour = Behaviour(model, examples, units)
    whole = behaviour.outcomes()
    every = [
        units.unit(site, n, role)
        for site in units.sites
        for n in range(4 if site.startswith("attn") else 1)
        for role in behaviour.roles
    ]
    ablator = Ablator(behaviour, units.sites)
    for kind in ("mean", "resample", "zero"):
        kept = ablator.keeping(every, kind)  # type: ignore[arg-type]
        assert kept.leads == pytest.approx(whole.leads, abs=1e-4)
        none = ablator.keeping([], kind)  # type: ignore[arg-type]
        assert none.mean != pytest.approx(whole.mean, abs=1e-2)
        without = ablator.without(every, kind)  # type: ignore[arg-type]
        assert without.leads == pytest.approx(none.leads, abs=1e-4)
    last = [unit for unit in every if unit.role == "last"]
    part = Ablator(behaviour, units.sites).keeping(last, "mean")
    assert part.mean not in (whole.mean, none.mean)


def test_ranks_are_first_order_effects(model: Model, examples: list[Example]) -> None:
    """Between two prompts that hardly differ what is predicted is what is measured."""
    units = Units(model, ["heads", "mlps"])
    behaviour = Behaviour(model, examples[:4], units)
    for batch in behaviour.batches:
        batch.others = batch.tokens  # nothing changes: no effect at all
    assert not len(rank(behaviour, 1).units)
    behaviour = Behaviour(model, examples, units)
    ranking = rank(behaviour, 5)
    assert ranking.effects.shape == (len(behaviour.rows), len(ranking.units))
    full = behaviour.outcomes().mean
    guess = ranking.effects.mean(0)
    best = ranking.strongest(12)
    measured = [behaviour.exchanged([unit]).mean - full for unit in best]
    signs = [guess[ranking.units.index(u)] * m > 0 for u, m in zip(best, measured, strict=True)]
    assert sum(signs) >= 10
    assert ranking.overlap(5, 20, 0) > 0.3


def test_a_circuit_is_found_and_measured(model: Model, examples: list[Example]) -> None:
    found = circuit(model, examples, max_members=4, candidates=10, controls=3, about="words")
    assert 1 <= len(found.members) <= 4
    assert found.num_chosen + found.num_held == found.usable.count
    assert found.lead > 0 > found.other_lead
    assert found.held_templates  # chosen on one template, measured on the other
    assert len(found.controls) == 3
    assert found.swing > 0.3
    assert found.curve[-1] == (1.0, pytest.approx(1.0, abs=1e-4))
    for one in found.faithfulness.values():
        span = one.model - one.empty
        assert one.value == pytest.approx((one.circuit - one.empty) / span)
        assert one.completeness == pytest.approx((one.without - one.empty) / span)
    for member in found.members:
        if member.kind == "head":
            assert sum(member.looks.values()) == pytest.approx(1, abs=1e-3)
    again = Circuit.from_json(found.to_json())
    assert again == found
    assert "words" in found.summary()
    assert (
        circuit(model, examples, max_members=4, candidates=10, controls=3, about="words").to_json()
        == found.to_json()
    )


def test_the_word_itself_is_no_member(model: Model, examples: list[Example]) -> None:
    """The neurons of layer 0 at the word that differs turn every answer; alone of their kind they
    are the strongest unit, and yet neither a member nor in a random circuit."""
    found = circuit(model, examples, kinds=["mlps"], candidates=50, controls=3, tolerance=-1.0)
    assert {one.kind for one in found.members} == {"mlp"}
    assert all(one.layer > 0 for one in found.members)
    units = Units(model, ["mlps"])
    ranked = rank(Behaviour(model, examples, units)).strongest(1)
    assert ranked[0].layer == 0


@pytest.mark.parametrize(("rise", "counted"), [(-0.1, False), (0.001, False), (0.3, True)])
def test_what_is_said_counts_where_it_can_rise(
    model: Model, examples: list[Example], rise: float, counted: bool
) -> None:
    """Not where the other answer is hardly said on the other prompts either: a fraction of next to
    nothing would outweigh all else."""
    units = Units(model, ["heads"])
    every = Behaviour(model, examples, units)
    worth = _Worth(every)
    one = rank(every).strongest(1)
    worth.rise = rise
    found = worth(one)
    said = (every.exchanged(one).chance - worth.chance) / rise
    worth.rise = 0.0
    assert found - worth(one) == pytest.approx(min(said, 1.0) if counted else 0.0, abs=1e-9)


def test_a_circuit_that_chance_equals_says_so(model: Model, examples: list[Example]) -> None:
    found = circuit(model, examples, controls=2)
    assert found.by_chance == (max(c.value for c in found.controls) >= found.turned.value)
    ones = [replace(found.turned) for _ in range(2)]
    assert "does no more than chance" in replace(found, controls=ones).summary()
    none = [replace(found.turned, count=-1) for _ in range(2)]
    assert "chance" not in replace(found, controls=none).summary()


def test_halves_are_of_like_size(examples: list[Example]) -> None:
    many = [replace(examples[0], template=name) for name in "a" * 23 + "b" * 14 + "c" * 4 + "d" * 9]
    for seed in range(5):
        one, two = _halves(many, seed)
        assert len(one) + len(two) == len(many)
        assert not {e.template for e in one} & {e.template for e in two}
        assert min(len(one), len(two)) >= 14


def test_features_are_units_of_an_atlas(model: Model, examples: list[Example]) -> None:
    names = {}
    one = random_dictionary("resid_post.1", "resid_post.1", d=model.d_model)

    def label(dictionary: str, feature: int) -> str | None:
        return names.setdefault((dictionary, feature), f"concept {feature}")

    found = circuit(
        model, examples, [one], kinds=["features"], candidates=8, controls=1, names=label
    )
    assert found.members
    for member in found.members:
        assert member.kind == "feature"
        assert f"concept {member.index} [{one.name}/{member.index}]" in found.summary()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kinds": ["layers"]}, "units 'layers'; expected heads or mlps or features"),
        ({"kinds": ["features"]}, "no dictionary of the residual stream is given"),
        ({"max_members": 0}, "max_members"),
        ({"tolerance": math.nan}, "tolerance"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, Any], said: str, model: Model, examples: list[Example]
) -> None:
    with pytest.raises(InputError, match=said):
        circuit(model, examples, **options)


def test_a_behaviour_that_the_model_does_not_show_is_refused(
    model: Model, examples: list[Example]
) -> None:
    turned = [replace(one, answers=one.wrong, wrong=one.answers) for one in examples]
    with pytest.raises(InputError, match="shows the behaviour on 0 of"):
        circuit(model, turned)


def test_areas_of_curves() -> None:
    assert areas([(0.0, 0.0), (1.0, 1.0)]) == (0.5, 0.5)
    assert areas([(0.0, 1.0), (0.5, 1.0), (1.0, 2.0)]) == (1.25, 0.25)


def test_a_unit_knows_what_it_is() -> None:
    assert Unit("attn_head.3", 1, "last").kind == "head"
    assert Unit("mlp_act.12", 0, "last").kind == "mlp"
    assert Unit("resid_post.2", 5, "last", "resid_post.2").kind == "feature"
    assert Unit("attn_head.3", 1, "last").layer == 3
