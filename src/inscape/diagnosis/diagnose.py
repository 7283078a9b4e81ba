"""Why a model answers wrongly, decided by what restores the right answer.

1. The wrong answer is what the model says; it need not be told.
2. Features of all dictionaries are ranked by their estimated push toward the wrong answer and
   toward the right one, and the strongest are ablated one by one in the unmodified model
   (candidates.py).
3. A set whose ablation restores the right answers, and harms no control, is searched for
   (search.py): among the strongest, or, of a mistake that many features share, by a learned mask.
   Matched random sets are ablated beside it (random_sets.py).
4. The right answer's own supporters are turned up (doubled), to see whether that restores it too.
5. The mechanism follows from what restored the answer (see `_mechanism`); it is "undecided" where
   nothing did.
6. What was found is judged on prompts that had no part in finding it, where such are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from inscape.core import InputError, LabelOf, Share, no_label
from inscape.diagnosis.candidates import MEASURED_ON, Effect, estimate, measure, strongest
from inscape.diagnosis.cases import Batch, Case, encode, last_logits, shares
from inscape.diagnosis.random_sets import matched_sets, random_control
from inscape.diagnosis.result import Candidate, Diagnosis, Mechanism
from inscape.diagnosis.search import find_set
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit, Repair
from inscape.model import Model

NUM_AMPLIFIED = 6
ENOUGH = 0.5
"""A set that restores fewer than half of the failures explains nothing."""


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
        cases: prompts with right answers; those that the model gets wrong are explained together.
        controls: prompts that should stay right; the ones that the model gets right guard the
            search. They should hold prompts on which the wrong answer is right.
        judged_on: named sets of prompts that take no part in the search; the repair is judged
            there. The random sets are judged on the failures of the first of them.
        labels: of features, for display.
        num_candidates: how many features are ablated one by one.
        max_features: size of the largest set among them; `max_spread`: of a set found by a learned
            mask, which many failures (24 or more) that no such set repairs call for; 0: none.

    Raises:
        InputError: no prompts, no dictionaries, or a prompt longer than the context.
    """
    if not dictionaries:
        raise InputError("there are no dictionaries", next_step="train one")
    batch = encode(model, cases)
    logits = last_logits(model, batch)
    failing = logits.argmax(-1) != batch.correct
    if not bool(failing.any()):
        return _all_right(model, cases, batch, logits)
    failures, logits = batch.rows(failing), logits[failing]
    first = int(failing.nonzero()[0])
    wrong = logits.argmax(-1)
    pushes = estimate(model, dictionaries, failures, wrong)
    for_wrong = measure(model, strongest(pushes, num_candidates), pushes, failures, wrong)
    supporters = strongest(pushes, num_candidates // 4, sign=-1)
    for_correct = measure(model, supporters, pushes, failures, wrong)[::-1]
    helpful = [effect for effect in for_wrong if effect.margin > 0]
    found = find_set(
        model,
        dictionaries,
        helpful,
        failures,
        wrong,
        _right_controls(model, controls),
        max_features=max_features,
        max_spread=max_spread,
        seed=seed,
    )
    members = measure(model, found.members, pushes, failures, wrong)
    changes = found.edits()
    repaired = _answered(model, failures, changes)
    sets = matched_sets(found.members, pushes, num_random, seed) if changes else []
    amplified = _amplified(model, failures, for_correct)
    probabilities = logits.softmax(-1)
    rows = torch.arange(len(failures))
    candidate = partial(_candidate, model, failures, labels)
    return Diagnosis(
        prompt=cases[first].prompt,
        correct=cases[first].correct,
        wrong=model.token_text(int(wrong[0])),
        correct_token=model.token_text(int(failures.correct[0])),
        wrong_token=model.token_text(int(wrong[0])),
        mechanism=_mechanism(members, repaired, amplified, probabilities[rows, failures.correct]),
        num_prompts=len(batch),
        num_failures=len(failures),
        lead=float((logits[rows, wrong] - logits[rows, failures.correct]).mean()),
        correct_probability=float(probabilities[rows, failures.correct].mean()),
        wrong_probability=float(probabilities[rows, wrong].mean()),
        for_wrong=tuple(candidate(e) for e in for_wrong[:8]),
        for_correct=tuple(candidate(e) for e in for_correct[:8]),
        removed=tuple(candidate(e) for e in members),
        repair=Repair.of(model, changes, prompt=cases[first].prompt) if changes else None,
        repaired=repaired,
        random=random_control(model, sets, _judged_failures(model, judged_on, failures), seed),
        amplified=amplified,
        before=shares(model, judged_on or {}),
        after=shares(model, judged_on or {}, changes),
    )


def _answered(model: Model, batch: Batch, changes: Sequence[FeatureEdit]) -> Share:
    logits = last_logits(model, batch, changes)
    return Share(int((logits.argmax(-1) == batch.correct).sum()), len(batch))


def _amplified(model: Model, failures: Batch, supporters: Sequence[Effect]) -> Share:
    """How many failures are right with the right answer's own supporters doubled."""
    up = [FeatureEdit(e.dictionary, e.feature, "scale", 2.0) for e in supporters if e.margin < 0]
    return _answered(model, failures, up[:NUM_AMPLIFIED])


def _judged_failures(
    model: Model, judged_on: Mapping[str, Sequence[Case]] | None, failures: Batch
) -> Batch:
    """The failures of the first judged set; without any, some of those at hand."""
    if judged_on:
        batch = encode(model, next(iter(judged_on.values())))
        failing = last_logits(model, batch).argmax(-1) != batch.correct
        if bool(failing.any()):
            return batch.rows(failing)
    return failures.rows(slice(0, MEASURED_ON))


def _right_controls(model: Model, controls: Sequence[Case]) -> Batch | None:
    if not controls:
        return None
    batch = encode(model, controls)
    return batch.rows(last_logits(model, batch).argmax(-1) == batch.correct)


def _mechanism(
    members: Sequence[Effect], repaired: Share, amplified: Share, correct: Tensor
) -> Mechanism:
    """Decided by what restores the answer (reference: the project's methods, "Failures").

    Removal restores it: "inhibited" where the removed features mostly held the right answer's
    logit down, "outvoted" where they mostly held the wrong one's up. Turning the right answer's
    own supporters up restores it: "outvoted". Neither does, and the right answer has less than a
    thousandth of the probability: "absent or unknown" (which of the two needs paraphrases).
    """
    if members and repaired.value >= ENOUGH:
        held_down = sum(max(0.0, member.correct) for member in members)
        held_up = sum(max(0.0, -member.wrong) for member in members)
        return "inhibited" if held_down > held_up else "outvoted"
    if amplified.value >= ENOUGH:
        return "outvoted"
    return "absent or unknown" if float(correct.mean()) < 1e-3 else "undecided"


def _candidate(model: Model, failures: Batch, labels: LabelOf, effect: Effect) -> Candidate:
    length = int(failures.lengths[0])
    tokens = failures.tokens[:1, :length]
    one = effect.dictionary
    run = model.run(tokens.to(model.device), read=one.reads)
    code = one.encode(one.concat_sites({site: run[site] for site in one.reads}))
    values = code.of(effect.feature).cpu()
    if model.bos_id is not None:
        values[0] = 0
    top = values.topk(min(3, length)).indices.tolist()
    places = tuple(
        (p, model.token_text(int(tokens[0, p])), float(values[p])) for p in top if values[p] > 0
    )
    name = effect.dictionary.name
    return Candidate(
        name,
        effect.feature,
        labels(name, effect.feature),
        effect.estimate,
        effect.margin,
        effect.wrong,
        effect.correct,
        effect.repaired,
        places,
    )


def _all_right(model: Model, cases: Sequence[Case], batch: Batch, logits: Tensor) -> Diagnosis:
    correct = logits.softmax(-1)[torch.arange(len(batch)), batch.correct]
    return Diagnosis(
        prompt=cases[0].prompt,
        correct=cases[0].correct,
        wrong="",
        correct_token=model.token_text(int(batch.correct[0])),
        wrong_token="",
        mechanism="correct",
        num_prompts=len(batch),
        num_failures=0,
        lead=0.0,
        correct_probability=float(correct.mean()),
        wrong_probability=0.0,
    )
