"""The set that is kept: one feature where one is enough, a pair where two are, none for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from tests.diagnosis.planted import PLANTED, Planted, planted

from inscape.diagnosis.candidates import Effect, estimate, measure
from inscape.diagnosis.cases import encode
from inscape.diagnosis.search import Judge, find_set
from inscape.diagnosis.study import Study, study_failures
from inscape.dictionary import Dictionary

LURE = 30
"""A feature of one and a half of the direction: it takes the most of the wrong answer's lead, but
too much of all else."""


@pytest.fixture(scope="module")
def fault() -> Planted:
    return planted()


def shared_out(fault: Planted, parts: Mapping[int, float]) -> Dictionary:
    """The planted direction as features that each read all of it and write a part of it."""
    whole = fault.dictionary
    weights = {name: value.clone() for name, value in whole.weights.items()}
    weights["W_enc"][PLANTED] = -whole.W_enc[PLANTED]  # so that it is not active
    for feature, part in parts.items():
        weights["W_enc"][feature] = whole.W_enc[PLANTED]
        weights["W_dec"][feature] = part * whole.W_enc[PLANTED]
    return type(whole)(whole.config, weights, name="shared")


def ranked(
    fault: Planted, dictionary: Dictionary, features: Sequence[int], count: int
) -> tuple[Study, list[Effect]]:
    cases = fault.failing[2 : 2 + count]  # which the whole direction, and no more, repairs
    study = study_failures(fault.model, [dictionary], cases, 0)[2]
    return study, measure(study, [(dictionary, f) for f in features], estimate(study))


@pytest.mark.parametrize("count", [1, 5])
def test_a_feature_that_corrects_all_alone_is_the_repair(fault: Planted, count: int) -> None:
    dictionary = shared_out(fault, {0: 0.3, 1: 1.0, LURE: 1.5})
    study, effects = ranked(fault, dictionary, [0, 1, 2, LURE], count)
    assert [(e.feature, e.repaired) for e in effects[:2]] == [(LURE, 0), (1, count)]
    found = find_set(study, effects, None, max_features=24, max_spread=0)
    assert [f for _, f in found.members] == [1]
    assert found.repaired == 1


def test_of_several_such_features_the_one_with_the_larger_lead_is_taken(fault: Planted) -> None:
    dictionary = shared_out(fault, {0: 0.9, 1: 1.0})
    study, effects = ranked(fault, dictionary, [0, 1], 3)
    assert [e.repaired for e in effects] == [3, 3]
    best = effects[0].feature
    found = find_set(study, effects, None, max_features=24, max_spread=0)
    assert [f for _, f in found.members] == [best]


def test_one_that_harms_controls_gives_way_to_one_that_does_not(fault: Planted) -> None:
    """Feature 0 does as much on the trigger as feature 1, but is active on all other tokens too."""
    dictionary = shared_out(fault, {0: 1 / 1.03, 1: 1.0})
    trigger = fault.model.prompt(fault.failing[2].prompt)
    x = fault.model.run(trigger, read=["embed"])["embed"][0, -1].float()
    dictionary.weights["b_enc"][0] = 0.03 * float(dictionary.encode(x[None]).of(1)[0])
    study, effects = ranked(fault, dictionary, [0, 1], 1)
    assert [effect.repaired for effect in effects] == [1, 1]
    controls = encode(fault.model, fault.right)
    judge = Judge(study, controls)
    harmful, harmless = judge.trials([[(dictionary, 0)], [(dictionary, 1)]])
    assert harmful.harmed > 0.2 > harmless.harmed
    found = find_set(study, effects, controls, max_features=24, max_spread=0)
    assert [f for _, f in found.members] == [1]


def test_a_pair_is_found_though_neither_does_it_alone(fault: Planted) -> None:
    dictionary = shared_out(fault, {0: 0.5, 1: 0.5, LURE: 1.5})
    study, effects = ranked(fault, dictionary, [0, 1, 2, LURE], 4)
    assert effects[0].feature == LURE
    assert not any(effect.repaired for effect in effects)
    found = find_set(study, effects, None, max_features=2, max_spread=0)
    assert {f for _, f in found.members} == {0, 1}
    assert found.repaired == 1
    assert not find_set(study, effects, None, max_features=1, max_spread=0).members


@pytest.mark.parametrize("count", [1, 4])
def test_no_member_is_superfluous(fault: Planted, count: int) -> None:
    """Four features make up the direction; the fifth, of the first five, is not needed."""
    parts = {0: 0.26, 1: 0.25, 2: 0.25, 3: 0.24, 4: 0.02}
    dictionary = shared_out(fault, parts)
    study, effects = ranked(fault, dictionary, range(5), count)
    found = find_set(study, effects, None, max_features=24, max_spread=0)
    assert sorted(f for _, f in found.members) == [0, 1, 2, 3]
    judge = Judge(study, None)
    fewer = judge.trials([[m for m in found.members if m != one] for one in found.members])
    assert max(one.repaired for one in fewer) < found.repaired
