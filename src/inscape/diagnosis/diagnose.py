"""Why a model answers wrongly, decided by what restores the correct answer.

1. The wrong answer is what the model writes, unless answers are given (cases.py); the failures
   among the cases are explained together.
2. Features of all dictionaries are ranked by their estimated direct effect toward the wrong answer
   and toward the correct one; the strongest are ablated one by one (candidates.py).
3. A set whose ablation restores the correct answers, and harms no control, is searched for
   (search.py): among the strongest, or, of a mistake that many features share, by a learned mask
   (mask.py). Random sets are ablated for comparison (random_sets.py).
4. The correct answer's own features are doubled, to see whether that restores it too.
5. The mechanism follows from what restored the answer (see `_mechanism`); it is "undecided" where
   nothing did.
6. What was found is judged on prompts that had no part in finding it, where such are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from inscape.core import InputError, LabelOf, Share, all_of, no_label, short, whole
from inscape.diagnosis.candidates import Effect, estimate, measure, strongest
from inscape.diagnosis.cases import Batch, Case, encode
from inscape.diagnosis.outcomes import Outcome, Set, outcome
from inscape.diagnosis.random_sets import matched_sets, random_control
from inscape.diagnosis.result import Diagnosis, Mechanism, RandomControl
from inscape.diagnosis.search import find_set
from inscape.diagnosis.study import Study, study_failures
from inscape.diagnosis.wording import answers, continued, correct_means, display, written
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit, Repair
from inscape.model import Model

NUM_AMPLIFIED = 6
SHOWN = 8  # candidates of each side that are kept
ENOUGH = 0.5
"""A set explains a failure if it restores at least half, and twice as many as random sets do."""
WEAK = 0.1
"""Random sets that restore so many make the evidence for the found set weak."""


def diagnose(
    model: Model,
    dictionaries: Sequence[Dictionary],
    cases: Sequence[Case],
    *,
    controls: Sequence[Case] = (),
    judged_on: Mapping[str, Sequence[Case]] | None = None,
    labels: LabelOf = no_label,
    num_candidates: int = 40,
    max_features: int = 24,
    max_spread: int = 64,
    num_random: int = 100,
    seed: int = 0,
) -> Diagnosis:
    """Diagnose the failures among `cases`.

    Args:
        model: the unmodified model.
        dictionaries: where features are looked for: any number of sites and layers.
        cases: prompts with correct answers; those that the model gets wrong are explained together.
        controls: prompts that should stay correct; the ones that the model gets right guard the
            search. They should hold prompts on which the wrong answer is the correct one.
        judged_on: named sets of prompts that take no part in the search; the repair is judged
            there. The random sets are judged on the failures of the first of them.
        labels: gives a feature's label by dictionary and number, for display.
        num_candidates: how many features are ablated one by one.
        max_features: size of the largest set among them; `max_spread`: of a set found by a learned
            mask, which many failures (24 or more) that no such set repairs call for; 0: none.

    Raises:
        InputError: no prompts, no dictionaries, a prompt longer than the context, or a wrong answer
            that begins with the correct one.
    """
    dictionaries = all_of(Dictionary, dictionaries, "a dictionary")
    if not dictionaries:
        raise InputError("there are no dictionaries", next_step="train or import one")
    sizes = {"num_candidates": num_candidates, "max_features": max_features}
    sizes |= {"max_spread": max_spread, "num_random": num_random, "seed": seed}
    for name, size in sizes.items():
        whole(size, name, 0)
    cases = all_of(Case, cases, "a prompt with its answer")
    batch, clean, study = study_failures(model, dictionaries, cases, seed)
    failing = study.failures
    if not study.chosen:
        return _nothing_to_explain(study, cases[0], batch, clean)
    estimates = estimate(study)
    tried = strongest(estimates, num_candidates)
    tried += strongest(estimates, num_candidates // 4, sign=-1)
    effects = measure(study, tried, estimates)
    for_wrong = [effect for effect in effects if effect.margin > 0]
    for_correct = [effect for effect in effects[::-1] if effect.margin < 0]
    guard = _correct_controls(model, controls)
    found = find_set(study, for_wrong, guard, max_features=max_features, max_spread=max_spread)
    members = measure(study, found.members, estimates)
    repaired = study.outcome(found.removed).share if members else Share(0, len(failing))
    supporters = dict.fromkeys((effect.member for effect in for_correct[:NUM_AMPLIFIED]), -1.0)
    amplified = study.outcome(supporters).share
    judged = _judged(model, judged_on or {})
    before = {name: outcome(model, given) for name, given in judged.items()}
    sets = matched_sets(found.members, estimates, num_random, seed) if members else []
    case, shown = cases[study.chosen[0]], display(study, labels)
    changes = [FeatureEdit(d, f, "ablate") for d, f in found.members]
    control = _judged_failures(study, judged, before)
    random = random_control(control, sets)
    beaten = _beaten(control.outcome(found.removed).share, random) if members else False
    doubts = _doubts(repaired, random, beaten) if members else ()
    notes = (*failing.notes, *_smaller(sets, len(members)), *doubts)
    return Diagnosis(
        prompt=model.prompt(case.prompt).text,
        **answers(study, case),
        correct_means=correct_means([batch, *judged.values()]),
        searched=_searched(dictionaries),
        num_removed_alone=len(effects),
        mechanism=_mechanism(study, beaten and repaired.value >= ENOUGH, members, amplified),
        num_prompts=len(batch),
        num_failures=len(failing),
        lead=float(failing.lead(study.logits).mean()),
        for_wrong=tuple(map(shown, for_wrong[:SHOWN])),
        for_correct=tuple(map(shown, for_correct[:SHOWN])),
        removed=tuple(map(shown, members)),
        repair=Repair.of(model, changes, prompt=case.prompt) if changes else None,
        repaired=repaired,
        random=random,
        amplified=amplified,
        before={name: result.share for name, result in before.items()},
        after={name: outcome(model, given, found.removed).share for name, given in judged.items()},
        notes=(*notes, *_later(study)),
    )


def _nothing_to_explain(study: Study, case: Case, batch: Batch, clean: Outcome) -> Diagnosis:
    """What is said where no prompt fails; InputError where no token shows a failure."""
    if not clean.answered.all():
        raise InputError(
            study.failures.notes[-1],
            expected="a wrong answer that does not begin with the correct one",
            next_step="name the wrong answer, or let the correct one go on until they differ",
        )
    model = study.model
    writes, probability = case.correct, float(clean.log_probability[0].exp())
    if len(case.answers) > 1 and not model.answers(case.prompt, case.correct):
        writes, probability = written(model, *continued(model, case.prompt))
    return Diagnosis(
        prompt=model.prompt(case.prompt).text,
        correct=case.correct,
        correct_token=model.token_text(int(batch.correct[0])),
        correct_means=correct_means([batch]),
        writes=writes,
        writes_probability=probability,
        answers_given=case.answers[1:],
        correct_probability=float(clean.log_probability[batch.first].exp().mean()),
        num_prompts=len(batch),
        notes=study.failures.notes,
    )


def _searched(dictionaries: Sequence[Dictionary]) -> dict[str, int]:
    """How many features each dictionary has, by name."""
    found: dict[str, int] = {}
    for one in dictionaries:
        found[one.name] = found.get(one.name, 0) + one.d_dict
    return found


def _beaten(found: Share, random: RandomControl) -> bool:
    """Whether a set restores twice as many of the same failures as random sets do."""
    return found.value >= 2 * (random.value or 0.0)


def _doubts(repaired: Share, random: RandomControl, beaten: bool) -> tuple[str, ...]:
    """What is said where random sets restore the correct answer too."""
    value = random.value or 0.0
    if repaired.value < ENOUGH or value < WEAK:
        return ()
    doubt = "the evidence for the features found is weak"
    return (
        f"random sets of equally active features restore the correct answer in {value:.1%} of the "
        f"trials: {doubt if beaten else 'the features found explain nothing'}",
    )


def _later(study: Study) -> tuple[str, ...]:
    """What is said where the correct answer is ahead at the token whose logits are looked at."""
    count, ahead = len(study.failures), int((study.failures.lead(study.logits) < 0).sum())
    where = f"in {ahead} of {count} failing prompts " if count > 1 else ""
    note = (
        f"{where}the correct answer is ahead at the first token that differs from the wrong one: "
        "why it is less likely as a whole lies in later tokens, or in another of the answers "
        "given, and is not explained"
    )
    return (note,) if ahead else ()


def _smaller(sets: Sequence[Set], wanted: int) -> tuple[str, ...]:
    """What is said where too few features are active for random sets of the wanted size."""
    size = min(map(len, sets), default=wanted)
    note = f"random sets have {size} features, not {wanted}: no more are active here"
    return () if size == wanted else (note,)


def _judged(model: Model, sets: Mapping[str, Sequence[Case]]) -> dict[str, Batch]:
    if not isinstance(sets, Mapping):
        raise InputError(f"judged_on: {short(sets)}", expected="sets of cases by name")
    return {name: encode(model, cases) for name, cases in sets.items() if cases}


def _judged_failures(
    study: Study, judged: Mapping[str, Batch], before: Mapping[str, Outcome]
) -> Study:
    """The failures of the first judged set; without any, some of those that are explained."""
    for name, batch in judged.items():
        failing = (~before[name].answered).nonzero().flatten().tolist()
        if failing:
            clean = before[name].cases(batch, failing)
            failures = batch.cases(failing)
            return replace(study, failures=failures, clean=clean, chosen=tuple(failing))
        break
    return study.some()


def _correct_controls(model: Model, controls: Sequence[Case]) -> Batch | None:
    if isinstance(controls, Sequence) and not controls:
        return None
    batch = encode(model, controls)
    return batch.cases(outcome(model, batch).answered)


def _mechanism(
    study: Study, explained: bool, members: Sequence[Effect], amplified: Share
) -> Mechanism:
    """Decided by what restores the answer (reference: the project's methods, "Failures").

    Removal restores it, and random sets do not: "inhibited" where the removed features mostly held
    the correct answer's logit down, "outvoted" where they mostly held the wrong one's up. Doubling
    the correct answer's own features restores it: "outvoted". Neither does, and the correct
    answer's token has less than a thousandth of the probability: "absent or unknown" (which of the
    two needs paraphrases).
    """
    if explained:
        held_down = sum(max(0.0, member.correct) for member in members)
        held_up = sum(max(0.0, -member.wrong) for member in members)
        return "inhibited" if held_down > held_up else "outvoted"
    if amplified.value >= ENOUGH:
        return "outvoted"
    there = study.logits.softmax(-1).gather(-1, study.failures.correct[:, None]).mean()
    return "absent or unknown" if float(there) < 1e-3 else "undecided"
