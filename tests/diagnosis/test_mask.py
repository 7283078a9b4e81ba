"""The learned mask: its edit against plain ablation, and a cause that no single feature carries."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.planted import PLANTED, Planted, planted

from inscape.diagnosis.cases import encode
from inscape.diagnosis.mask import learned_sets, masked_logits
from inscape.diagnosis.outcomes import Set, outcome
from inscape.diagnosis.search import MANY, Judge, find_set
from inscape.diagnosis.study import Study, study_failures
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit, edits

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


def studied(fault: Planted, dictionary: Dictionary, count: int = MANY, seed: int = 0) -> Study:
    cases = (fault.failing * 3)[:count]
    return study_failures(fault.model, [dictionary], cases, seed)[2]


def test_a_fraction_of_one_is_ablation_and_of_zero_is_nothing(fault: Planted) -> None:
    study, dictionary = studied(fault, fault.dictionary, 4), fault.dictionary
    batch = study.failures

    def after(removed: Set) -> torch.Tensor:
        return outcome(fault.model, batch, removed).logits(fault.model, batch)

    taken = torch.zeros(dictionary.d_dict)
    close = {"atol": 1e-4, "rtol": 1e-4}
    with torch.no_grad():
        plain = masked_logits(fault.model, [dictionary], [taken], batch)
        torch.testing.assert_close(plain, study.logits, **close)
        for fraction in (1.0, 0.25):
            taken[[2, PLANTED]] = fraction
            masked = masked_logits(fault.model, [dictionary], [taken], batch)
            removed = {(dictionary, f): fraction for f in (2, PLANTED)}
            torch.testing.assert_close(masked, after(removed), **close)
            scaled = [FeatureEdit(dictionary, f, "scale", 1 - fraction) for f in (2, PLANTED)]
            with fault.model.standing_edits(edits(fault.model, scaled)):
                torch.testing.assert_close(masked, after({}), **close)


def test_the_derivative_of_a_fraction_is_that_of_its_ablation(fault: Planted) -> None:
    batch = studied(fault, fault.dictionary, 2).failures
    taken = torch.zeros(fault.dictionary.d_dict, requires_grad=True)
    logits = masked_logits(fault.model, [fault.dictionary], [taken], batch)
    torch.autograd.backward(logits[:, fault.wrong].sum())
    assert taken.grad is not None

    def wrong(fraction: float) -> float:
        result = outcome(fault.model, batch, {(fault.dictionary, PLANTED): fraction})
        return float(result.logits(fault.model, batch)[:, fault.wrong].sum())

    slope = (wrong(1e-2) - wrong(-1e-2)) / 2e-2
    assert float(taken.grad[PLANTED]) == pytest.approx(slope, rel=0.02)


def test_features_that_share_a_cause_are_found_together(fault: Planted, spread: Dictionary) -> None:
    study, controls = studied(fault, spread), encode(fault.model, fault.right)
    judge = Judge(study, controls)
    alone = judge.trials([[(spread, f)] for f in range(spread.d_dict)])
    assert max(found.repaired for found in alone) < 0.5
    found = find_set(study, [], controls, max_features=24, max_spread=20)
    assert found.repaired >= 0.6
    assert {f for _, f in found.members} >= set(range(PARTS))
    assert not find_set(study, [], controls, max_features=24, max_spread=0).members


def test_the_last_set_is_the_cause_itself(fault: Planted, spread: Dictionary) -> None:
    controls = encode(fault.model, fault.right)
    *_, last = learned_sets(studied(fault, spread), controls, max_features=40)
    assert {f for _, f in last} == set(range(PARTS))


def test_few_failures_learn_no_mask(fault: Planted, spread: Dictionary) -> None:
    """With too few to judge it, a mask could talk the model into anything."""
    study = studied(fault, spread, MANY - 1)
    assert not find_set(study, [], None, max_features=24, max_spread=20).members


def test_sets_are_the_same_for_the_same_seed(fault: Planted, spread: Dictionary) -> None:
    def first() -> list[int]:
        sets = learned_sets(studied(fault, spread, seed=1), None, max_features=40)
        return [f for _, f in next(iter(sets))]

    assert first() == first()
