"""Why a model answers wrongly, decided by what restores the correct answer.

1. The wrong answer is what the model says, unless it is named (cases.py); the failures among the
   cases are explained together.
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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from inscape.core import InputError, LabelOf, Share, all_of, no_label, short, whole
from inscape.diagnosis.candidates import Effect, estimate, measure, strongest
from inscape.diagnosis.cases import Batch, Case, encode
from inscape.diagnosis.outcomes import Outcome, Set, outcome
from inscape.diagnosis.random_sets import matched_sets, random_control
from inscape.diagnosis.result import Candidate, Diagnosis, Mechanism, RandomControl
from inscape.diagnosis.search import find_set
from inscape.diagnosis.study import Study, study_failures
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit, Repair
from inscape.model import Model

NUM_AMPLIFIED = 6
SHOWN = 8  # candidates of each side that are kept
ENOUGH = 0.5
"""A set explains a failure if it restores at least half, and twice as many as random sets do."""
LONGEST = 12  # tokens of a wrong answer that is not named


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
    for_wrong = measure(study, strongest(estimates, num_candidates), estimates)
    for_correct = measure(study, strongest(estimates, num_candidates // 4, sign=-1), estimates)
    found = find_set(
        study,
        [effect for effect in for_wrong if effect.margin > 0],
        _correct_controls(model, controls),
        max_features=max_features,
        max_spread=max_spread,
    )
    members = measure(study, found.members, estimates)
    repaired = study.outcome(found.removed).share if members else Share(0, len(failing))
    supporters = [effect.member for effect in for_correct[::-1] if effect.margin < 0]
    amplified = study.outcome(dict.fromkeys(supporters[:NUM_AMPLIFIED], -1.0)).share
    judged = _judged(model, judged_on or {})
    before = {name: outcome(model, given) for name, given in judged.items()}
    sets = matched_sets(found.members, estimates, num_random, seed) if members else []
    case, shown = cases[study.chosen[0]], _display(study, labels)
    wrong, wrong_probability = _wrong_answer(study, case)
    changes = [FeatureEdit(d, f, "ablate") for d, f in found.members]
    random = random_control(_judged_failures(study, judged, before), sets)
    chance = "random sets of features as active restore it too: these explain nothing"
    notes = (chance,) if repaired.value >= ENOUGH and not _explains(repaired, random) else ()
    return Diagnosis(
        prompt=model.prompt(case.prompt).text,
        correct=case.correct,
        wrong=wrong,
        correct_token=model.token_text(int(failing.correct[0])),
        wrong_token=model.token_text(int(failing.wrong[0])),
        shared="".join(map(model.token_text, failing.shared(0))),
        mechanism=_mechanism(study, members, _explains(repaired, random), amplified),
        num_prompts=len(batch),
        num_failures=len(failing),
        lead=float(failing.lead(study.logits).mean()),
        correct_probability=float(study.clean.log_probability[failing.first].exp().mean()),
        wrong_probability=wrong_probability,
        for_wrong=tuple(map(shown, for_wrong[:SHOWN])),
        for_correct=tuple(map(shown, for_correct[::-1][:SHOWN])),
        removed=tuple(map(shown, members)),
        repair=Repair.of(model, changes, prompt=case.prompt) if changes else None,
        repaired=repaired,
        random=random,
        amplified=amplified,
        before={name: result.share for name, result in before.items()},
        after={name: outcome(model, given, found.removed).share for name, given in judged.items()},
        notes=(*failing.notes, *_smaller(sets, len(members)), *notes),
    )


def _nothing_to_explain(study: Study, case: Case, batch: Batch, clean: Outcome) -> Diagnosis:
    """What is said where no prompt fails; InputError where no token shows a failure."""
    if not clean.answered.all():
        raise InputError(
            study.failures.notes[-1],
            expected="a wrong answer that does not begin with the correct one",
            next_step="name the wrong answer, or let the correct one go on until they differ",
        )
    return Diagnosis(
        prompt=study.model.prompt(case.prompt).text,
        correct=case.correct,
        correct_token=study.model.token_text(int(batch.correct[0])),
        correct_probability=float(clean.log_probability[batch.first].exp().mean()),
        num_prompts=len(batch),
        notes=study.failures.notes,
    )


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


def _explains(repaired: Share, random: RandomControl) -> bool:
    """Whether a set restores enough, and more than chance does."""
    return repaired.value >= max(ENOUGH, 2 * (random.value or 0.0))


def _mechanism(
    study: Study, members: Sequence[Effect], explained: bool, amplified: Share
) -> Mechanism:
    """Decided by what restores the answer (reference: the project's methods, "Failures").

    Removal restores it, and random sets do not: "inhibited" where the removed features mostly held
    the correct answer's logit down, "outvoted" where they mostly held the wrong one's up. Doubling
    the correct answer's own features restores it: "outvoted". Neither does, and the correct
    answer's token has less than a thousandth of the probability: "absent or unknown" (which of the
    two needs paraphrases).
    """
    if members and explained:
        held_down = sum(max(0.0, member.correct) for member in members)
        held_up = sum(max(0.0, -member.wrong) for member in members)
        return "inhibited" if held_down > held_up else "outvoted"
    if amplified.value >= ENOUGH:
        return "outvoted"
    there = study.logits.softmax(-1).gather(-1, study.failures.correct[:, None]).mean()
    return "absent or unknown" if float(there) < 1e-3 else "undecided"


def _wrong_answer(study: Study, case: Case) -> tuple[str, float]:
    """The wrong answer to the first failing prompt, and the mean probability of the wrong ones:
    whole where the cases name them, else as far as the first token that is wrong."""
    failing, clean, model = study.failures, study.clean, study.model
    scores = []
    for i, named in enumerate(study.named):
        row, ids = int(failing.first[i]), [*failing.shared(i), int(failing.wrong[i])]
        logs = model.unembed(clean.states[row][: len(ids)]).log_softmax(-1)
        said = logs[range(len(ids)), ids].sum().cpu()
        scores.append(clean.log_probability[row + named] if named else said)
    probability = float(torch.stack(scores).exp().mean())
    if study.named[0]:
        return case.answers[study.named[0]], probability
    prompt = model.prompt(case.prompt)
    written = model.generate(prompt, min(LONGEST, model.context_length - len(prompt)))[0].tolist()
    end = len(prompt) + len(failing.shared(0)) + 1
    while end < len(written) and model.token_text(written[end])[:1].isalnum():
        end += 1
    return model.continuation(written[:end], len(prompt)), probability


def _display(study: Study, labels: LabelOf) -> Callable[[Effect], Candidate]:
    """How effects are shown: with labels, and where each feature is active on the first failure."""
    model, failing = study.model, study.failures
    ids = failing.tokens[0, : int(failing.starts[0])]
    places = failing.counted[0, : len(ids)].nonzero().flatten()
    run = model.run(
        ids[None].to(model.device), read=sorted({s for d in study.dictionaries for s in d.reads})
    )
    codes = {
        d: d.encode(d.concat_sites({s: run[s][0, places] for s in d.reads}))
        for d in study.dictionaries
    }

    def shown(effect: Effect) -> Candidate:
        name, feature = effect.dictionary.name, effect.feature
        values = codes[effect.dictionary].of(feature).tolist()
        top = sorted(zip(values, places.tolist(), strict=True), key=lambda pair: -pair[0])[:3]
        tokens = [(i, model.token_text(int(ids[i])), value) for value, i in top if value > 0]
        return Candidate(
            name,
            feature,
            labels(name, feature),
            estimate=effect.estimate,
            margin=effect.margin,
            wrong=effect.wrong,
            correct=effect.correct,
            repaired=effect.repaired,
            tokens=tuple(tokens),
        )

    return shown
