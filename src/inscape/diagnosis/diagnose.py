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
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Any, Literal

import torch
from torch import Tensor

from inscape.core import InputError, Share
from inscape.diagnosis.candidates import MEASURED_ON, Effect, estimate, measure, strongest
from inscape.diagnosis.cases import Batch, Case, encode, last_logits, shares
from inscape.diagnosis.random_sets import matched_sets, random_repairs
from inscape.diagnosis.search import find_set
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit
from inscape.model import Model

VERSION = 1
Mechanism = Literal["right", "outvoted", "inhibited", "absent or unknown", "undecided"]
NUM_TURNED_UP = 6
ENOUGH = 0.5
"""A set that restores fewer than half of the failures explains nothing."""


@dataclass(frozen=True)
class Suspect:
    """A feature with what its removal did, and where it was active on the first failing prompt."""

    dictionary: str
    feature: int
    label: str | None
    estimate: float
    margin: float
    wrong: float
    right: float
    repaired: int
    tokens: tuple[tuple[int, str, float], ...]

    @property
    def name(self) -> str:
        """dictionary/feature."""
        return f"{self.dictionary}/{self.feature}"


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a failure, with the interventions that prove it.

    Effects are changes by ablation: `margin` is what (wrong − right) loses, `wrong` and `right`
    how those logits move, in logits, mean over the failing prompts.
    """

    prompt: str
    right: str
    wrong: str
    right_token: str
    mechanism: Mechanism
    num_prompts: int
    num_failures: int
    clean_margin: float
    right_probability: float
    wrong_probability: float
    for_wrong: tuple[Suspect, ...]
    for_right: tuple[Suspect, ...]
    repair: tuple[Suspect, ...]
    repaired: Share
    random: Share
    turned_up: Share
    before: Mapping[str, Share] = field(default_factory=dict)
    after: Mapping[str, Share] = field(default_factory=dict)
    edits: tuple[FeatureEdit, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, versioned."""

        def suspects(items: Sequence[Suspect]) -> list[dict[str, Any]]:
            return [{**vars(s), "tokens": [list(t) for t in s.tokens]} for s in items]

        def figures(items: Mapping[str, Share]) -> dict[str, Any]:
            return {name: share.to_json() for name, share in items.items()}

        plain = (
            "prompt",
            "right",
            "wrong",
            "right_token",
            "mechanism",
            "num_prompts",
            "num_failures",
            "clean_margin",
            "right_probability",
            "wrong_probability",
        )
        return {
            "version": VERSION,
            **{name: getattr(self, name) for name in plain},
            "for_wrong": suspects(self.for_wrong),
            "for_right": suspects(self.for_right),
            "repair": suspects(self.repair),
            "repaired": self.repaired.to_json(),
            "random": self.random.to_json(),
            "turned_up": self.turned_up.to_json(),
            "before": figures(self.before),
            "after": figures(self.after),
        }

    def summary(self) -> str:
        """The verdict in a few lines."""
        if self.mechanism == "right":
            return f"The model answers{self.right_token} here: there is nothing to diagnose."
        lines = [
            f"{self.prompt}",
            f"  says {self.wrong!r} (p={self.wrong_probability:.2g}), "
            f"right is {self.right_token!r} (p={self.right_probability:.2g}), "
            f"behind by {self.clean_margin:.2f} nats",
            f"  verdict: {self.mechanism}",
        ]
        for suspect in self.repair:
            where = ", ".join(f"{text!r} ({value:.1f})" for _, text, value in suspect.tokens)
            lines.append(
                f"  without {suspect.name} [{suspect.label or 'no label'}], active on {where}: "
                f"margin −{suspect.margin:.2f}"
            )
        if self.repair:
            lines.append(f"  restored by removing them: {self.repaired}; by random: {self.random}")
        else:
            lines.append("  no set of features that was tried restores the right answer")
        for name in self.before:
            lines.append(f"  {name}: right before {self.before[name]}, after {self.after[name]}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The summary, for notebooks."""
        return f"<pre>{escape(self.summary())}</pre>"


def diagnose(
    model: Model,
    dictionaries: Sequence[Dictionary],
    cases: Sequence[Case],
    *,
    controls: Sequence[Case] = (),
    judged_on: Mapping[str, Sequence[Case]] | None = None,
    labels: Mapping[tuple[str, int], str] | None = None,
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
        labels: (dictionary, feature) → label, for display.
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
    failing = logits.argmax(-1) != batch.right
    if not bool(failing.any()):
        return _all_right(model, cases, batch, logits)
    failures, logits = batch.rows(failing), logits[failing]
    first = int(failing.nonzero()[0])
    wrong = logits.argmax(-1)
    pushes = estimate(model, dictionaries, failures, wrong)
    for_wrong = measure(model, strongest(pushes, num_candidates), pushes, failures, wrong)
    supporters = strongest(pushes, num_candidates // 4, sign=-1)
    for_right = measure(model, supporters, pushes, failures, wrong)[::-1]
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
    turned_up = _turned_up(model, failures, for_right)
    probabilities = logits.softmax(-1)
    rows = torch.arange(len(failures))
    suspect = partial(_suspect, model, failures, labels or {})
    return Diagnosis(
        prompt=cases[first].prompt,
        right=cases[first].right,
        wrong=model.token_text(int(wrong[0])),
        right_token=model.token_text(int(failures.right[0])),
        mechanism=_mechanism(members, repaired, turned_up, probabilities[rows, failures.right]),
        num_prompts=len(batch),
        num_failures=len(failures),
        clean_margin=float((logits[rows, wrong] - logits[rows, failures.right]).mean()),
        right_probability=float(probabilities[rows, failures.right].mean()),
        wrong_probability=float(probabilities[rows, wrong].mean()),
        for_wrong=tuple(suspect(e) for e in for_wrong[:8]),
        for_right=tuple(suspect(e) for e in for_right[:8]),
        repair=tuple(suspect(e) for e in members),
        repaired=repaired,
        random=random_repairs(model, sets, _judged_failures(model, judged_on, failures)),
        turned_up=turned_up,
        before=shares(model, judged_on or {}),
        after=shares(model, judged_on or {}, changes),
        edits=tuple(changes),
    )


def _answered(model: Model, batch: Batch, changes: Sequence[FeatureEdit]) -> Share:
    logits = last_logits(model, batch, changes)
    return Share(int((logits.argmax(-1) == batch.right).sum()), len(batch))


def _turned_up(model: Model, failures: Batch, supporters: Sequence[Effect]) -> Share:
    """How many failures are right with the right answer's own supporters doubled."""
    up = [FeatureEdit(e.dictionary, e.feature, "scale", 2.0) for e in supporters if e.margin < 0]
    return _answered(model, failures, up[:NUM_TURNED_UP])


def _judged_failures(
    model: Model, judged_on: Mapping[str, Sequence[Case]] | None, failures: Batch
) -> Batch:
    """The failures of the first judged set; without any, some of those at hand."""
    if judged_on:
        batch = encode(model, next(iter(judged_on.values())))
        failing = last_logits(model, batch).argmax(-1) != batch.right
        if bool(failing.any()):
            return batch.rows(failing)
    return failures.rows(slice(0, MEASURED_ON))


def _right_controls(model: Model, controls: Sequence[Case]) -> Batch | None:
    if not controls:
        return None
    batch = encode(model, controls)
    return batch.rows(last_logits(model, batch).argmax(-1) == batch.right)


def _mechanism(
    members: Sequence[Effect], repaired: Share, turned_up: Share, right: Tensor
) -> Mechanism:
    """Decided by what restores the answer (reference: the project's methods, "Failures").

    Removal restores it: "inhibited" where the removed features mostly held the right answer's
    logit down, "outvoted" where they mostly held the wrong one's up. Turning the right answer's
    own supporters up restores it: "outvoted". Neither does, and the right answer has less than a
    thousandth of the probability: "absent or unknown" (which of the two needs paraphrases).
    """
    if members and repaired.value >= ENOUGH:
        held_down = sum(max(0.0, member.right) for member in members)
        held_up = sum(max(0.0, -member.wrong) for member in members)
        return "inhibited" if held_down > held_up else "outvoted"
    if turned_up.value >= ENOUGH:
        return "outvoted"
    return "absent or unknown" if float(right.mean()) < 1e-3 else "undecided"


def _suspect(
    model: Model, failures: Batch, labels: Mapping[tuple[str, int], str], effect: Effect
) -> Suspect:
    length = int(failures.lengths[0])
    tokens = failures.tokens[:1, :length]
    site = effect.dictionary.config.site_in
    code = effect.dictionary.encode(model.run(tokens.to(model.device), read=[site])[site])
    values = code.of(effect.feature).cpu()
    if model.bos_id is not None:
        values[0] = 0
    top = values.topk(min(3, length)).indices.tolist()
    places = tuple(
        (p, model.token_text(int(tokens[0, p])), float(values[p])) for p in top if values[p] > 0
    )
    name = effect.dictionary.name
    return Suspect(
        name,
        effect.feature,
        labels.get((name, effect.feature)),
        effect.estimate,
        effect.margin,
        effect.wrong,
        effect.right,
        effect.repaired,
        places,
    )


def _all_right(model: Model, cases: Sequence[Case], batch: Batch, logits: Tensor) -> Diagnosis:
    right = logits.softmax(-1)[torch.arange(len(batch)), batch.right]
    token = model.token_text(int(batch.right[0]))
    return Diagnosis(
        prompt=cases[0].prompt,
        right=cases[0].right,
        wrong="",
        right_token=token,
        mechanism="right",
        num_prompts=len(batch),
        num_failures=0,
        clean_margin=0.0,
        right_probability=float(right.mean()),
        wrong_probability=0.0,
        for_wrong=(),
        for_right=(),
        repair=(),
        repaired=Share(0, 0),
        random=Share(0, 0),
        turned_up=Share(0, 0),
    )
