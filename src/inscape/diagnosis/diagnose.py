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

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from inscape.core import InputError, LabelOf, Share, all_of, no_label, short, whole
from inscape.diagnosis.candidates import Effect, estimate, measure, strongest
from inscape.diagnosis.cases import Batch, Case, encode
from inscape.diagnosis.outcomes import Outcome, outcome
from inscape.diagnosis.random_sets import matched_sets, random_control
from inscape.diagnosis.result import Candidate, Diagnosis, Mechanism
from inscape.diagnosis.search import find_set
from inscape.diagnosis.study import Study, study_failures
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit, Repair
from inscape.model import Model

NUM_AMPLIFIED = 6
SHOWN = 8  # candidates of each side that are kept
ENOUGH = 0.5
"""A set that restores fewer than half of the failures explains nothing."""
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
    if not isinstance(judged_on, Mapping | None):
        raise InputError(f"judged_on: {short(judged_on)}", expected="sets of cases by name")
    counts = {"num_candidates": num_candidates, "max_features": max_features}
    counts |= {"max_spread": max_spread, "num_random": num_random, "seed": seed}
    for name, count in counts.items():
        whole(count, name, 0)
    batch, clean, study = study_failures(model, dictionaries, cases, seed)
    if not study.chosen and not clean.answered.all():
        raise InputError(
            study.failures.notes[-1],
            expected="a wrong answer that does not begin with the correct one",
            next_step="name the wrong answer, or let the correct one go on until they differ",
        )
    if not study.chosen:
        return _all_correct(model, cases, batch, clean, study.failures.notes)
    estimates = estimate(study)
    for_wrong = measure(study, strongest(estimates, num_candidates), estimates)
    supporters = strongest(estimates, num_candidates // 4, sign=-1)
    for_correct = measure(study, supporters, estimates)[::-1]
    found = find_set(
        study,
        [effect for effect in for_wrong if effect.margin > 0],
        _correct_controls(model, controls),
        max_features=max_features,
        max_spread=max_spread,
    )
    members = measure(study, found.members, estimates)
    repaired = study.outcome(found.removed).share if members else Share(0, len(study.chosen))
    up = [effect.member for effect in for_correct if effect.margin < 0][:NUM_AMPLIFIED]
    amplified = study.outcome(dict.fromkeys(up, -1.0)).share
    judged = {name: encode(model, given) for name, given in (judged_on or {}).items() if given}
    before = {name: outcome(model, given) for name, given in judged.items()}
    sets = matched_sets(found.members, estimates, num_random, seed) if members else []
    first, logits = study.chosen[0], study.logits
    rows, failing = torch.arange(len(logits)), study.failures
    lead = logits[rows, failing.wrong] - logits[rows, failing.correct]
    there = logits.softmax(-1)[rows, failing.correct]
    shown = _Candidates(study, labels)
    wrong, wrong_probability = _wrong_answer(study, cases[first])
    smallest = min(map(len, sets), default=len(members))
    changes = [FeatureEdit(d, f, "ablate") for d, f in found.members]
    return Diagnosis(
        prompt=model.prompt(cases[first].prompt).text,
        correct=cases[first].correct,
        wrong=wrong,
        correct_token=model.token_text(int(failing.correct[0])),
        wrong_token=model.token_text(int(failing.wrong[0])),
        shared=_shared(study),
        mechanism=_mechanism(members, repaired, amplified, float(there.mean())),
        num_prompts=len(batch),
        num_failures=len(failing),
        lead=float(lead.mean()),
        correct_probability=float(study.clean.log_probability[failing.first].exp().mean()),
        wrong_probability=wrong_probability,
        for_wrong=shown.of(for_wrong[:SHOWN]),
        for_correct=shown.of(for_correct[:SHOWN]),
        removed=shown.of(members),
        repair=Repair.of(model, changes, prompt=cases[first].prompt) if changes else None,
        repaired=repaired,
        random=random_control(_judged_failures(study, judged, before), sets),
        amplified=amplified,
        before={name: result.share for name, result in before.items()},
        after={name: outcome(model, given, found.removed).share for name, given in judged.items()},
        notes=(*failing.notes, *_smaller(smallest, len(members))),
    )


def _smaller(size: int, wanted: int) -> tuple[str, ...]:
    """What is said where too few features are active for random sets of the wanted size."""
    if size == wanted:
        return ()
    return (f"random sets have {size} features, not {wanted}: no more are active here",)


def _judged_failures(
    study: Study, judged: Mapping[str, Batch], before: Mapping[str, Outcome]
) -> Study:
    """The failures of the first judged set; without any, some of those at hand."""
    for name, batch in judged.items():
        failing = (~before[name].answered).nonzero().flatten().tolist()
        if failing:
            chosen = batch.cases(failing), before[name].cases(batch, failing)
            return replace(study, failures=chosen[0], clean=chosen[1], chosen=tuple(failing))
        break
    return study.some()


def _correct_controls(model: Model, controls: Sequence[Case]) -> Batch | None:
    if isinstance(controls, Sequence) and not controls:
        return None
    batch = encode(model, controls)
    return batch.cases(outcome(model, batch).answered)


def _mechanism(
    members: Sequence[Effect], repaired: Share, amplified: Share, probability: float
) -> Mechanism:
    """Decided by what restores the answer (reference: the project's methods, "Failures").

    Removal restores it: "inhibited" where the removed features mostly held the correct answer's
    logit down, "outvoted" where they mostly held the wrong one's up. Doubling the correct answer's
    own features restores it: "outvoted". Neither does, and the correct answer's token has less than
    a thousandth of the probability: "absent or unknown" (which of the two needs paraphrases).
    """
    if members and repaired.value >= ENOUGH:
        held_down = sum(max(0.0, member.correct) for member in members)
        held_up = sum(max(0.0, -member.wrong) for member in members)
        return "inhibited" if held_down > held_up else "outvoted"
    if amplified.value >= ENOUGH:
        return "outvoted"
    return "absent or unknown" if probability < 1e-3 else "undecided"


def _shared(study: Study) -> str:
    """What the two answers to the first failing prompt begin with."""
    failing, row = study.failures, int(study.failures.first[0])
    ids = failing.tokens[row, int(failing.starts[row]) : int(failing.parts[0]) + 1]
    return "".join(study.model.token_text(int(token)) for token in ids)


def _wrong_answer(study: Study, case: Case) -> tuple[str, float]:
    """The wrong answer to the first failing prompt, and the mean probability of the wrong ones:
    whole where the cases name them, else as far as the first token that is wrong."""
    failing, clean, model = study.failures, study.clean, study.model
    scores = []
    for i, count in enumerate(failing.num_rows.tolist()):
        row, at = int(failing.first[i]), int(failing.parts[i] - failing.starts[failing.first[i]])
        wrong = [*failing.answer(row)[: at + 1], int(failing.wrong[i])]
        others = [r for r in range(row + 1, row + count) if failing.answer(r)[: at + 2] == wrong]
        if others:
            scores.append(max(float(clean.log_probability[r]) for r in others))
        else:
            logs = model.unembed(clean.states[row][: at + 2]).log_softmax(-1)
            scores.append(float(logs[range(at + 2), wrong].sum()))
    probability = float(torch.tensor(scores).exp().mean())
    if len(case.answers) > 1:
        return _named(study, case), probability
    prompt = model.prompt(case.prompt)
    room = min(LONGEST, model.context_length - len(prompt))
    ids = model.generate(prompt, room)[0].tolist()
    end = len(prompt) + int(failing.parts[0] - failing.starts[0]) + 2
    while end < len(ids) and model.token_text(ids[end])[:1].isalnum():
        end += 1
    return model.continuation(ids[:end], len(prompt)), probability


def _named(study: Study, case: Case) -> str:
    if case.wrong is not None:
        return case.wrong
    others = study.clean.log_probability[1 : int(study.failures.num_rows[0])]
    return case.answers[1 + int(others.argmax())]


class _Candidates:
    """Effects for display: with labels, and where each feature is active on the first failure."""

    def __init__(self, study: Study, labels: LabelOf) -> None:
        self.model, self.labels = study.model, labels
        failing = study.failures
        self.ids = failing.tokens[0, : int(failing.starts[0])]
        self.places = failing.counted[0, : len(self.ids)].nonzero().flatten()
        sites = sorted({site for d in study.dictionaries for site in d.reads})
        run = self.model.run(self.ids[None].to(self.model.device), read=sites)
        self.codes = {
            id(d): d.encode(d.concat_sites({s: run[s][0, self.places] for s in d.reads}))
            for d in study.dictionaries
        }

    def of(self, effects: Sequence[Effect]) -> tuple[Candidate, ...]:
        """The effects as candidates."""
        return tuple(map(self._one, effects))

    def _one(self, effect: Effect) -> Candidate:
        values = self.codes[id(effect.dictionary)].of(effect.feature).tolist()
        active = zip(self.places.tolist(), values, strict=True)
        top = sorted(active, key=lambda pair: -pair[1])[:3]
        name = effect.dictionary.name
        return Candidate(
            name,
            effect.feature,
            self.labels(name, effect.feature),
            estimate=effect.estimate,
            margin=effect.margin,
            wrong=effect.wrong,
            correct=effect.correct,
            repaired=effect.repaired,
            tokens=tuple(
                (place, self.model.token_text(int(self.ids[place])), value)
                for place, value in top
                if value > 0
            ),
        )


def _all_correct(
    model: Model, cases: Sequence[Case], batch: Batch, clean: Outcome, notes: tuple[str, ...]
) -> Diagnosis:
    return Diagnosis(
        prompt=model.prompt(cases[0].prompt).text,
        correct=cases[0].correct,
        wrong="",
        correct_token=model.token_text(int(batch.correct[0])),
        wrong_token="",
        mechanism="correct",
        num_prompts=len(batch),
        num_failures=0,
        lead=0.0,
        correct_probability=float(clean.log_probability[batch.first].exp().mean()),
        wrong_probability=0.0,
        notes=notes,
    )
