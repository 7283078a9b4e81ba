"""The learned mask: its edit against plain ablation, and a cause that no single feature carries."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.planted import PLANTED, Planted, planted

from inscape.diagnosis.cases import Batch, encode, last_logits
from inscape.diagnosis.mask import learned_sets, masked_logits
from inscape.diagnosis.search import MANY, Judge, find_set
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit

PARTS = 6


@pytest.fixture(scope="module")
def fault() -> Planted:
    return planted()


@pytest.fixture(scope="module")
def spread(fault: Planted) -> Dictionary:
    """The planted direction split over PARTS features, each reading and writing a part of it."""
    whole = fault.dictionary
    weights = {name: value.clone() for name, value in whole.weights.items()}
    for part in range(PARTS):
        weights["W_enc"][part] = whole.W_enc[PLANTED]
        weights["W_dec"][part] = whole.W_dec[PLANTED] / PARTS
    weights["W_enc"][PLANTED] = -whole.W_enc[PLANTED]
    return type(whole)(whole.config, weights, name="spread")


def many(fault: Planted) -> Batch:
    batch = encode(fault.model, fault.failing)
    return batch.rows(torch.arange(MANY) % len(batch))


def test_a_share_of_one_is_ablation_and_of_zero_is_nothing(fault: Planted) -> None:
    batch = encode(fault.model, fault.failing[:4])
    dictionary = fault.dictionary
    shares = torch.zeros(dictionary.d_dict)
    with torch.no_grad():
        plain = masked_logits(fault.model, [dictionary], [shares], batch)
        shares[[2, PLANTED]] = 1
        cut = masked_logits(fault.model, [dictionary], [shares], batch)
        shares[[2, PLANTED]] = 0.25
        less = masked_logits(fault.model, [dictionary], [shares], batch)
    ablated = [FeatureEdit(dictionary, f, "ablate") for f in (2, PLANTED)]
    turned_down = [FeatureEdit(dictionary, f, "scale", 0.75) for f in (2, PLANTED)]
    torch.testing.assert_close(plain, last_logits(fault.model, batch), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cut, last_logits(fault.model, batch, ablated), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        less, last_logits(fault.model, batch, turned_down), atol=1e-4, rtol=1e-4
    )


def test_the_derivative_of_a_share_is_that_of_its_ablation(fault: Planted) -> None:
    batch = encode(fault.model, fault.failing[:2])
    shares = torch.zeros(fault.dictionary.d_dict, requires_grad=True)
    logits = masked_logits(fault.model, [fault.dictionary], [shares], batch)
    torch.autograd.backward(logits[:, fault.wrong].sum())
    assert shares.grad is not None

    def wrong(share: float) -> float:
        changes = [FeatureEdit(fault.dictionary, PLANTED, "scale", 1 - share)]
        return float(last_logits(fault.model, batch, changes)[:, fault.wrong].sum())

    slope = (wrong(1e-2) - wrong(-1e-2)) / 2e-2
    assert float(shares.grad[PLANTED]) == pytest.approx(slope, rel=0.02)


def test_features_that_share_a_cause_are_found_together(fault: Planted, spread: Dictionary) -> None:
    failures = many(fault)
    wrong = torch.full((len(failures),), fault.wrong)
    controls = encode(fault.model, fault.right)
    judge = Judge(fault.model, failures, wrong, controls)
    alone = max(judge.trial([(spread, f)]).repaired for f in range(spread.d_dict))
    assert alone < 0.5
    found = find_set(
        fault.model, [spread], [], failures, wrong, controls, max_features=24, max_spread=20
    )
    assert found.repaired >= 0.6
    assert {f for _, f in found.members} >= set(range(PARTS))
    assert not find_set(
        fault.model, [spread], [], failures, wrong, controls, max_features=24, max_spread=0
    ).members


def test_the_last_set_is_the_cause_itself(fault: Planted, spread: Dictionary) -> None:
    controls = encode(fault.model, fault.right)
    *_, last = learned_sets(fault.model, [spread], many(fault), controls, max_features=40)
    assert {f for _, f in last} == set(range(PARTS))


def test_few_failures_learn_no_mask(fault: Planted, spread: Dictionary) -> None:
    """With too few to judge it, a mask could talk the model into anything."""
    failures = many(fault).rows(slice(0, MANY - 1))
    wrong = torch.full((len(failures),), fault.wrong)
    found = find_set(
        fault.model, [spread], [], failures, wrong, None, max_features=24, max_spread=20
    )
    assert not found.members


def test_sets_are_the_same_for_the_same_seed(fault: Planted, spread: Dictionary) -> None:
    def first(seed: int) -> list[int]:
        sets = learned_sets(fault.model, [spread], many(fault), None, max_features=40, seed=seed)
        return [f for _, f in next(iter(sets))]

    assert first(1) == first(1)
