"""Diagnoses of a fault whose cause is known, and the figures that they rest on."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from tests.diagnosis.planted import PLANTED, SITE, Planted, planted
from tests.model.test_answers import saying

from inscape.core import InputError, wilson
from inscape.diagnosis import Case, Diagnosis, diagnose, shares
from inscape.diagnosis.candidates import Effect, Estimate, estimate, measure, strongest
from inscape.diagnosis.cases import encode
from inscape.diagnosis.mask import masked_logits
from inscape.diagnosis.outcomes import Outcome, outcome, outcomes
from inscape.diagnosis.random_sets import matched_sets, random_control
from inscape.diagnosis.result import RandomControl
from inscape.diagnosis.study import Study, study_failures
from inscape.diagnosis.wording import display
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.model import Model

module = import_module("inscape.diagnosis.diagnose")


@pytest.fixture(scope="module")
def fault() -> Planted:
    return planted()


def studied(fault: Planted, count: int = 12) -> Study:
    return study_failures(fault.model, [fault.dictionary], fault.failing[:count], 0)[2]


def test_outcomes_are_those_of_each_prompt_alone(fault: Planted) -> None:
    cases = [*fault.failing[:3], Case("ab", " the cat"), *fault.right[:3]]
    batch = encode(fault.model, cases)
    together = outcome(fault.model, batch)
    logits = together.logits(fault.model, batch)
    for row, case in enumerate(cases):
        alone = fault.model.run(fault.model.prompt(case.prompt), logits="last").logits
        assert alone is not None
        torch.testing.assert_close(logits[row], alone[0, -1].cpu(), atol=1e-5, rtol=1e-5)
        judged = fault.model.judge([(case.prompt, case.correct)])[0]
        assert bool(together.answered[row]) == judged.answered
        score = float(together.log_probability[row])
        assert score == pytest.approx(judged.log_probability, abs=1e-4)


def test_many_sets_in_one_pass_are_as_one_by_one(fault: Planted) -> None:
    study = studied(fault)
    d = fault.dictionary
    sets = [{}, {(d, PLANTED): 1.0}, {(d, 3): -1.0, (d, 5): 0.5}, {(d, PLANTED): 0.5, (d, 1): 1.0}]
    together = list(outcomes(fault.model, study.failures, sets))
    for one, found in zip(sets, together, strict=True):
        alone = outcome(fault.model, study.failures, one)
        assert torch.equal(found.answered, alone.answered)
        for a, b in zip(found.states, alone.states, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


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
    assert found.wrong_token == fault.model.token_text(fault.wrong)
    assert found.wrong.startswith(found.wrong_token)
    assert found.after["others"].value >= 0.8 > 0.3 >= found.before["others"].value
    assert found.after["right"].value >= 0.8
    assert (found.random.value or 0) < 0.3
    assert "planted/7" in found.summary()
    assert found.searched == {"planted": 40}
    assert "looked at 40 features of planted; the " in found.summary()
    assert "were removed one by one" in found.summary()
    assert 0 < found.num_removed_alone <= 40
    assert Diagnosis.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.repair is not None
    changes = found.repair.edits(lambda name: fault.dictionary)
    again = shares(fault.model, {"others": fault.failing[6:]}, changes)
    assert again["others"] == found.after["others"]


def test_random_sets_that_restore_little_are_no_reason_for_doubt(
    fault: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = []
    for value in (0.09, 0.1):
        by_chance = RandomControl(value, (0.0, 0.3), num_sets=5, num_prompts=1, num_features=1)
        monkeypatch.setattr(module, "random_control", lambda *given, _=by_chance: _)
        found = diagnose(fault.model, [fault.dictionary], fault.failing[:1], num_random=5)
        notes.append([note for note in found.notes if "is weak" in note])
    assert list(map(len, notes)) == [0, 1]


def test_what_random_sets_restore_too_is_no_explanation(
    fault: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for value in (0.4, 0.6):
        by_chance = RandomControl(value, (0.2, 0.9), num_sets=5, num_prompts=1, num_features=1)
        monkeypatch.setattr(module, "random_control", lambda *given, _=by_chance: _)
        found.append(diagnose(fault.model, [fault.dictionary], fault.failing[:1], num_random=5))
    assert [one.repaired.value for one in found] == [1.0, 1.0]
    assert [one.mechanism for one in found] == ["outvoted", "undecided"]
    assert "explain nothing" not in found[0].summary()
    assert (
        "in 40.0% of the trials: the evidence for the features found is weak" in found[0].summary()
    )
    assert "is weak" not in found[1].summary()
    assert "explain nothing" in found[1].summary()


def test_random_sets_are_compared_on_the_prompts_that_they_were_tried_on(
    fault: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the repair does for the explained prompts says nothing about others."""
    by_chance = RandomControl(0.3, (0.2, 0.9), num_sets=5, num_prompts=2, num_features=1)
    monkeypatch.setattr(module, "random_control", lambda *given: by_chance)
    explained = fault.failing[:1]
    others = [Case(case.prompt, " the cat") for case in fault.right[:2]]  # never
    alone = diagnose(fault.model, [fault.dictionary], explained, num_random=5)
    judged = diagnose(
        fault.model, [fault.dictionary], explained, judged_on={"others": others}, num_random=5
    )
    assert judged.after["others"].value == 0
    assert [alone.repaired.value, judged.repaired.value] == [1.0, 1.0]
    assert [alone.mechanism, judged.mechanism] == ["outvoted", "undecided"]
    assert "explain nothing" in judged.summary()


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
    assert not found.repaired.total or found.repaired.value < 0.5
    assert found.removed or "nothing that was tried explains" in found.summary()


def test_estimates_are_the_derivative_of_the_lead(fault: Planted) -> None:
    study = studied(fault, 1)
    found = estimate(study)[fault.dictionary]
    batch = study.failures

    def lead(amount: float) -> float:
        result = outcome(fault.model, batch, {(fault.dictionary, PLANTED): -amount})
        logits = result.logits(fault.model, batch)[0]
        return float(logits[batch.wrong[0]] - logits[batch.correct[0]])

    slope = (lead(1e-2) - lead(-1e-2)) / 2e-2
    assert float(found.effect[PLANTED]) == pytest.approx(slope, rel=0.02)


def test_measured_effects_are_those_of_a_plain_hook(fault: Planted) -> None:
    study = studied(fault, 4)
    batch, estimates = study.failures, estimate(study)
    (effect,) = measure(study, [(fault.dictionary, PLANTED)], estimates)
    changes = []
    for case, right, wrong in zip(fault.failing, batch.correct, batch.wrong, strict=False):
        tokens = torch.tensor([fault.model.prompt(case.prompt).ids])

        def ablate(module: Any, args: Any, x: torch.Tensor) -> torch.Tensor:
            taken = fault.dictionary.encode(x).of(PLANTED).reshape(x.shape[:2]).clone()
            taken[:, 0] = 0
            return x - taken[..., None] * fault.dictionary.W_dec[PLANTED]

        clean = fault.model.module(tokens).logits[0, -1]
        handle = fault.model.module.model.embed_tokens.register_forward_hook(ablate)
        cut = fault.model.module(tokens).logits[0, -1]
        handle.remove()
        changes.append(float((clean[wrong] - clean[right]) - (cut[wrong] - cut[right])))
    assert effect.margin == pytest.approx(sum(changes) / len(changes), abs=1e-4)


def test_positions_that_do_not_count_have_no_part(fault: Planted) -> None:
    """Attention sinks and special tokens: neither estimated, nor ablated, nor masked."""
    study = studied(fault, 4)
    nowhere = replace(study.failures, counted=torch.zeros_like(study.failures.counted))
    quiet = replace(study, failures=nowhere)
    (found,), (none,) = estimate(study).values(), estimate(quiet).values()
    assert float(found.effect.abs().max()) > 1
    assert float(none.effect.abs().max()) == 0
    ablated = outcome(fault.model, nowhere, {(fault.dictionary, PLANTED): 1.0})
    clean = outcome(fault.model, nowhere)
    torch.testing.assert_close(ablated.log_probability, clean.log_probability)
    taken = [torch.ones(fault.dictionary.d_dict)]
    masked = masked_logits(fault.model, [fault.dictionary], taken, nowhere)
    plain = masked_logits(fault.model, [fault.dictionary], [torch.zeros_like(taken[0])], nowhere)
    torch.testing.assert_close(masked, plain)


def test_features_are_sorted_by_what_their_removal_did(
    fault: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the estimate: with its sign turned, the same features stand on the same sides."""
    asked = {"num_candidates": 160, "num_random": 1}
    plain = diagnose(fault.model, [fault.dictionary], fault.failing[:2], **asked)

    def turned(study: Study) -> Any:
        given = estimate(study).items()
        return {d: Estimate(-one.effect, one.mass) for d, one in given}

    monkeypatch.setattr(module, "estimate", turned)
    found = diagnose(fault.model, [fault.dictionary], fault.failing[:2], **asked)
    for one in (plain, found):
        assert one.for_wrong
        assert one.for_correct
        assert all(feature.margin > 0 for feature in one.for_wrong)
        assert all(feature.margin < 0 for feature in one.for_correct)
    assert found.for_wrong[0].feature == plain.for_wrong[0].feature == PLANTED


def test_a_feature_of_the_answer_alone_says_so() -> None:
    """The space that " 89" and " 81" begin with is fed in behind the prompt."""
    model = saying("= 81.")
    rows = model.module.get_input_embeddings().weight.detach().float()
    space = rows[model.answer("48+41=", " 89").ids[0]]
    width = len(space)
    weights = {name: torch.zeros(4, width) for name in ("W_enc", "W_dec")}
    weights |= {"b_enc": torch.full((4,), -1e6), "b_dec": torch.zeros(width)}
    weights["W_enc"][0], weights["W_dec"][0] = space / space.norm(), space / space.norm()
    weights["b_enc"][0] = -0.8 * space.norm()
    config = DictionaryConfig(
        site_in="embed",
        site_out="embed",
        d_in=width,
        d_out=width,
        d_dict=4,
        k=2,
        subtract_b_dec=True,
    )
    made = Dictionary(config, weights, name="spaces")
    study = study_failures(model, [made], [Case("48+41=", " 89")], 0)[2]
    shown = display(study, lambda *given: None)
    nothing = {"estimate": 0.0, "margin": 0.0, "wrong": 0.0, "correct": 0.0, "repaired": 0}
    found = shown(Effect(made, 0, **nothing))
    assert found.in_answer
    assert [text for _, text, _ in found.tokens] == [" "]
    assert found.tokens[0][0] == len(model.prompt("48+41="))
    silent = shown(Effect(made, 1, **nothing))
    assert (silent.tokens, silent.in_answer) == ((), False)


# The control


def test_random_sets_are_as_large_and_leave_the_found_out(fault: Planted) -> None:
    estimates = estimate(studied(fault))
    members = strongest(estimates, 3)
    sets = matched_sets(members, estimates, 25, seed=1)
    assert len(sets) == 25
    assert all(len(s) == len(members) and not set(members) & set(s) for s in sets)
    assert sets == matched_sets(members, estimates, 25, seed=1)
    assert sets != matched_sets(members, estimates, 25, seed=2)


def test_random_sets_keep_their_size_where_the_nearest_are_used_up(fault: Planted) -> None:
    """36 members of one dictionary: more than the nearest 30 that each is matched to."""
    mass = torch.linspace(1, 9, 100)
    members = [(fault.dictionary, f) for f in range(36)]
    given = {fault.dictionary: Estimate(torch.zeros(100), mass)}
    assert {len(s) for s in matched_sets(members, given, 5, seed=0)} == {36}
    mass[50:] = 0  # now only 14 others are active, which the control says
    assert {len(s) for s in matched_sets(members, given, 5, seed=0)} == {14}


def test_the_control_is_no_surer_than_its_prompts(fault: Planted) -> None:
    """100 sets, each of which restores the same one of two prompts: two prompts, not 200."""
    study = studied(fault, 2)
    restored = replace(study.clean, answered=torch.tensor([True, False]))

    class Fixed(Study):
        def outcomes(self, sets: Any, what: str) -> list[Outcome]:
            return [restored] * len(sets)

    fixed = Fixed(**vars(study))
    found = random_control(fixed, [{(fault.dictionary, 1): 1.0}] * 100)
    assert (found.value, found.num_prompts, found.num_features) == (0.5, 2, 1)
    assert found.interval == (0.0, 1.0)
    low, high = wilson(100, 200)
    assert high - low < 0.15  # what it claimed before


def test_with_one_prompt_the_interval_is_over_the_sets(fault: Planted) -> None:
    """A bootstrap over one prompt would be of width zero."""
    study = studied(fault, 1)
    each = [replace(study.clean, answered=torch.tensor([i % 4 == 0])) for i in range(200)]

    class Fixed(Study):
        def outcomes(self, sets: Any, what: str) -> list[Outcome]:
            return each

    found = random_control(Fixed(**vars(study)), [{(fault.dictionary, 1): 1.0}] * 200)
    assert found.value == 0.25
    assert found.interval == wilson(50, 200)
    assert str(found) == "25.0% (19.5%–31.4%; 200 sets of 1 on 1 prompt)"


def test_failures_to_measure_on_are_drawn_not_the_first(fault: Planted) -> None:
    cases = (fault.failing * 6)[:60]
    study = study_failures(fault.model, [fault.dictionary], cases, 3)[2]
    chosen = study.some().chosen
    assert len(chosen) == len(set(chosen)) == 48
    assert chosen != study.chosen[:48]
    assert study.some().chosen == chosen
    assert encode(fault.model, cases).drawn(7, 0).tokens.shape[0] == 7


# What is not diagnosed


def test_right_answers_need_no_diagnosis_and_one_clean_pass(
    fault: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    run = Model.run
    monkeypatch.setattr(Model, "run", lambda self, *a, **k: passes.append(1) or run(self, *a, **k))
    found = diagnose(fault.model, [fault.dictionary], fault.right[:3])
    assert (found.mechanism, found.num_failures, found.removed) == ("correct", 0, ())
    assert "nothing to diagnose" in found.summary()
    assert len(passes) == 2  # which positions count; what the model says


def test_bad_input_is_told(fault: Planted) -> None:
    with pytest.raises(InputError, match="no prompts"):
        diagnose(fault.model, [fault.dictionary], [])
    with pytest.raises(InputError, match="no dictionaries"):
        diagnose(fault.model, [], fault.failing)
    with pytest.raises(InputError, match="context"):
        diagnose(fault.model, [fault.dictionary], [Case("a b c " * 200, " x")])
    assert SITE in fault.dictionary.config.site_in


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cases": 5}, "a prompt with its answer: 5"),
        ({"cases": [None]}, "a prompt with its answer: None"),
        ({"cases": [("a", "b")]}, "expected one Case, or a list"),
        ({"dictionaries": None}, "a dictionary: None"),
        ({"dictionaries": ["resid_post.1"]}, "expected one Dictionary"),
        ({"controls": [5]}, "a prompt with its answer: 5"),
        ({"judged_on": {"held out": 5}}, "a prompt with its answer: 5"),
        ({"judged_on": [5]}, "judged_on"),
        ({"num_candidates": -1}, "num_candidates -1"),
        ({"num_candidates": 2.5}, "num_candidates 2.5"),
        ({"max_features": "a"}, "max_features 'a'"),
        ({"num_random": None}, "num_random None"),
        ({"seed": "a"}, "seed 'a'"),
    ],
)
def test_arguments_of_the_wrong_type_end_in_one_line(
    fault: Planted, arguments: dict[str, Any], message: str
) -> None:
    usual = {"dictionaries": [fault.dictionary], "cases": fault.failing[:1], "num_random": 1}
    with pytest.raises(InputError, match=message):
        diagnose(fault.model, **{**usual, **arguments})


@pytest.mark.parametrize("answers", [{"correct": 5}, {"wrong": b"x"}, {"candidates": (" a", 5)}])
def test_answers_are_text(answers: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="an answer: .*; expected one text"):
        Case("a", **{"correct": " b", **answers})
    assert Case("a", " b", candidates=" cd").candidates == (" cd",)  # type: ignore[arg-type]
