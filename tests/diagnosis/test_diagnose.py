"""Diagnoses of a fault whose cause is known, and the figures that they rest on."""

from __future__ import annotations

import json

import pytest
import torch
from tests.diagnosis.planted import PLANTED, SITE, Planted, planted

from inscape.core import InputError
from inscape.diagnosis import CAUSES, Case, Diagnosis, baselines, diagnose, shares
from inscape.diagnosis.candidates import estimate, measure, strongest
from inscape.diagnosis.cases import encode, last_logits
from inscape.diagnosis.random_sets import matched_sets


@pytest.fixture(scope="module")
def fault() -> Planted:
    return planted()


def test_logits_are_those_of_each_prompt_alone(fault: Planted) -> None:
    cases = [*fault.failing[:3], Case("ab", fault.right[0].correct), *fault.right[:3]]
    batch = encode(fault.model, cases)
    together = last_logits(fault.model, batch)
    for row, case in enumerate(cases):
        alone = fault.model.run(fault.model.prompt(case.prompt), logits="last").logits
        assert alone is not None
        torch.testing.assert_close(together[row], alone[0, -1], atol=1e-5, rtol=1e-5)


def test_the_planted_feature_is_found_proved_and_enough(fault: Planted) -> None:
    found = diagnose(
        fault.model,
        [fault.dictionary],
        fault.failing[:6],
        controls=fault.right[:6],
        judged_on={"others": fault.failing[6:], "right": fault.right[6:]},
        num_random=20,
    )
    assert found.num_failures >= 5
    assert found.removed[0].feature == PLANTED
    assert found.mechanism == "outvoted"
    assert found.wrong == fault.model.token_text(fault.wrong)
    assert found.after["others"].value >= 0.8 > 0.3 >= found.before["others"].value
    assert found.after["right"].value >= 0.8
    assert (found.random.value or 0) < 0.3
    assert "planted/7" in found.summary()
    assert Diagnosis.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.repair is not None
    changes = found.repair.edits(lambda name: fault.dictionary)
    again = shares(fault.model, {"others": fault.failing[6:]}, changes)
    assert again["others"] == found.after["others"]


def test_without_the_planted_feature_nothing_is_claimed(fault: Planted) -> None:
    """A dictionary that lacks the cause must not be blamed for it."""
    blind = fault.dictionary
    weights = {name: value.clone() for name, value in blind.weights.items()}
    direction = weights["W_dec"][PLANTED].clone()
    for name in ("W_enc", "W_dec"):
        weights[name] -= (weights[name] @ direction)[:, None] * direction
    other = type(blind)(blind.config, weights, name="blind")
    found = diagnose(fault.model, [other], fault.failing, num_random=5)
    assert found.mechanism != "outvoted"
    assert found.repaired.value < 0.5
    assert found.removed or "no set of features" in found.summary()


def test_estimates_are_the_derivative_of_the_margin(fault: Planted) -> None:
    batch = encode(fault.model, fault.failing[:1])
    wrong = torch.tensor([fault.wrong])
    (push,) = estimate(fault.model, [fault.dictionary], batch, wrong)

    def margin(amount: float) -> float:
        def nudge(x: torch.Tensor) -> torch.Tensor:
            values = fault.dictionary.encode(x).of(PLANTED).reshape(x.shape[:2]).clone()
            values[:, 0] = 0
            return x + amount * values[..., None] * fault.dictionary.W_dec[PLANTED]

        logits = fault.model.run(batch.tokens, edits={SITE: nudge}, logits="last").logits
        assert logits is not None
        return float(logits[0, -1, wrong[0]] - logits[0, -1, batch.correct[0]])

    slope = (margin(1e-2) - margin(-1e-2)) / 2e-2
    assert float(push.push[PLANTED]) == pytest.approx(slope, rel=0.02)


def test_measured_effects_are_those_of_a_plain_hook(fault: Planted) -> None:
    batch = encode(fault.model, fault.failing[:4])
    wrong = torch.full((4,), fault.wrong)
    pushes = estimate(fault.model, [fault.dictionary], batch, wrong)
    (effect,) = measure(fault.model, [(fault.dictionary, PLANTED)], pushes, batch, wrong)
    rows, changes = torch.arange(4), []
    for row in rows:
        tokens = batch.tokens[row : row + 1]

        def ablate(module, args, x):
            taken = fault.dictionary.encode(x).of(PLANTED).reshape(x.shape[:2]).clone()
            taken[:, 0] = 0
            return x - taken[..., None] * fault.dictionary.W_dec[PLANTED]

        clean = fault.model.module(tokens).logits[0, -1]
        handle = fault.model.module.model.embed_tokens.register_forward_hook(ablate)
        cut = fault.model.module(tokens).logits[0, -1]
        handle.remove()
        right = batch.correct[row]
        changes.append(float((clean[fault.wrong] - clean[right]) - (cut[fault.wrong] - cut[right])))
    assert effect.margin == pytest.approx(sum(changes) / 4, abs=1e-4)


def test_random_sets_are_as_large_and_leave_the_found_out(fault: Planted) -> None:
    batch = encode(fault.model, fault.failing)
    wrong = torch.full((len(batch),), fault.wrong)
    pushes = estimate(fault.model, [fault.dictionary], batch, wrong)
    members = strongest(pushes, 3)
    sets = matched_sets(members, pushes, 25, seed=1)
    taken = {feature for _, feature in members}
    assert len(sets) == 25
    assert all(len({e.feature for e in s}) == len(members) for s in sets)
    assert not any(e.feature in taken for s in sets for e in s)
    assert sets == matched_sets(members, pushes, 25, seed=1) != matched_sets(members, pushes, 25, 2)


def test_right_answers_need_no_diagnosis(fault: Planted) -> None:
    found = diagnose(fault.model, [fault.dictionary], fault.right[:3])
    assert (found.mechanism, found.num_failures, found.removed) == ("correct", 0, ())
    assert "nothing to diagnose" in found.summary()


def test_plain_baselines_find_the_trigger(fault: Planted) -> None:
    batch = encode(fault.model, fault.failing[:2])
    last = int(batch.lengths[0]) - 1
    assert int(CAUSES["leave one token out"](fault.model, batch)[0]) == last
    mean = torch.zeros(fault.model.d_model)
    found = baselines(fault.model, SITE, mean, fault.failing[:3], {"all": fault.failing[:3]})
    assert [b.name for b in found] == [
        "leave one token out",
        "input × gradient",
        "the wrong answer's own direction",
    ]
    assert all(b.after["all"].total == 3 for b in found)
    assert (
        found[2].after["all"].value > shares(fault.model, {"all": fault.failing[:3]})["all"].value
    )


def test_bad_input_is_told(fault: Planted) -> None:
    with pytest.raises(InputError, match="no prompts"):
        diagnose(fault.model, [fault.dictionary], [])
    with pytest.raises(InputError, match="no dictionaries"):
        diagnose(fault.model, [], fault.failing)
    with pytest.raises(InputError, match="context"):
        diagnose(fault.model, [fault.dictionary], [Case("a b c " * 200, " x")])
