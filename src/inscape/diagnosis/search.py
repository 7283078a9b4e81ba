"""A set of features whose ablation restores the correct answers and harms nothing.

1. Candidates come ranked by how much of the wrong answer's lead ablating each one alone takes.
2. A set's worth: the fraction of failures repaired, less its harm, the fraction of controls whose
   lead over the best other answer falls below half of what it was (half, not zero: the given
   controls stand for others that were closer to the edge), less a twentieth of a failure for every
   feature: where failures are few, a few features are to do. Of equal worth the set that leaves the
   correct answers the larger lead is better.
3. The candidates that repair all failures alone are judged. Where one harms no control, the best
   of these is taken: nothing smaller can do.
4. Otherwise they compete with the candidates that repair most alone, with pairs of the strongest,
   and with nested sets of the first 1, 2, 3, 5, 7, 10, 14, ... of them. From the best set members
   are left out, the weakest first, until no member can go without fewer failures repaired or more
   harm. So no member is superfluous; that no other set is smaller is certain only of one feature.
5. Where that repairs too few, and the failures are many, the mistake may be spread over features
   none of which does much alone: sets from a learned mask (mask.py) are tried. The mask is learned
   on two thirds of the prompts; its sets and the one found before are scored on the rest, by worth
   and a tenth of the mean squashed lead. They replace it where they score higher by more than
   chance would have it, 1/√n of n failures. They keep all their members.

A mistake that every layer takes part in has no single cause: one feature at a time repairs nobody,
so a search that asks every step to pay for itself stops before it has begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import seeded
from inscape.diagnosis.candidates import Effect
from inscape.diagnosis.cases import Batch
from inscape.diagnosis.mask import learned_sets
from inscape.diagnosis.outcomes import ROWS, Member, Set, outcomes
from inscape.diagnosis.study import MEASURED_ON, Study

HARM_WEIGHT = 1.0
MARGIN_WEIGHT = 0.1
FEATURE_PRICE = 0.05
KEPT_LEAD = 0.5
GROWTH = 1.4
ALONE = 4
PAIRS = (6, 66)
"""Of the strongest 4 candidates at least, of the strongest 12 at most: as many as fit one pass."""
FEW = 0.9
"""Repaired less harmed; below it a learned mask is tried."""
MANY = 24
"""Failures from which on a mask is learned: a third of them has to judge it."""


@dataclass(frozen=True)
class Found:
    """A set of features, and what its ablation does to the prompts that it was chosen on.

    margin: the correct answers' mean lead in logits; worth, score: see the module.
    """

    members: tuple[Member, ...] = ()
    repaired: float = 0.0
    harmed: float = 0.0
    margin: float = 0.0
    worth: float = -1.0
    score: float = -1.0

    @property
    def removed(self) -> Set:
        """The ablations."""
        return dict.fromkeys(self.members, 1.0)

    @property
    def rank(self) -> tuple[float, float]:
        """By what sets are compared."""
        return self.worth, self.margin

    def does_as_much_as(self, other: Found) -> bool:
        """Whether it repairs no fewer failures than another and harms no more controls."""
        return self.repaired >= other.repaired and self.harmed <= other.harmed


class Judge:
    """Scores sets on failures and controls, which the model answers correctly.

    price: of a feature, in failures.
    """

    def __init__(self, study: Study, controls: Batch | None, price: float = FEATURE_PRICE) -> None:
        self.study, self.price = study, price
        self.controls = controls if controls is not None and len(controls) else None
        self.lead = None if self.controls is None else self._leads([{}])[0]

    @property
    def num_rows(self) -> int:
        """How many rows are run for one set."""
        guard = 0 if self.controls is None else len(self.controls.starts)
        return len(self.study.failures.starts) + guard

    def trials(self, sets: Sequence[Sequence[Member]]) -> list[Found]:
        """The sets with their scores."""
        removed: list[Set] = [dict.fromkeys(members, 1.0) for members in sets]
        leads = [None] * len(sets) if self.controls is None else self._leads(removed)
        batch, found = self.study.failures, []
        results = outcomes(self.study.model, batch, removed)
        for members, result, lead in zip(sets, results, leads, strict=True):
            margin = -batch.lead(result.logits(self.study.model, batch))
            repaired, harmed = float(result.answered.float().mean()), 0.0
            if lead is not None and self.lead is not None:
                harmed = float((lead < KEPT_LEAD * self.lead).float().mean())
            worth = repaired - HARM_WEIGHT * harmed - self.price * len(members) / len(batch)
            score = worth + MARGIN_WEIGHT * float(torch.tanh(margin).mean())
            found.append(
                Found(tuple(members), repaired, harmed, float(margin.mean()), worth, score)
            )
        return found

    def _leads(self, sets: Sequence[Set]) -> list[Float[Tensor, " case"]]:
        """By how much the controls' correct answers lead the best other ones."""
        assert self.controls is not None
        model, batch, found = self.study.model, self.controls, []
        rows = torch.arange(len(batch))
        for result in outcomes(model, batch, sets):
            logits = batch.visible(result.logits(model, batch))
            correct = logits[rows, batch.correct].clone()
            logits[rows, batch.correct] = -torch.inf
            found.append(correct - logits.amax(-1))
        return found


def find_set(
    study: Study,
    candidates: Sequence[Effect],
    controls: Batch | None,
    *,
    max_features: int,
    max_spread: int,
) -> Found:
    """The best set of at most `max_features` ranked candidates, or of `max_spread` features."""
    guard = None if controls is None else controls.drawn(2 * MEASURED_ON, study.seed)
    found = _few_features(Judge(study.some(), guard), candidates, max_features)
    if found.repaired - found.harmed < FEW and len(study.failures) >= MANY and max_spread:
        found = _spread(study, found, controls, max_spread)
    return found if found.repaired else Found()


def _few_features(judge: Judge, candidates: Sequence[Effect], max_features: int) -> Found:
    failures, members = len(judge.study.failures), [effect.member for effect in candidates]
    alone = [[e.member] for e in candidates if e.repaired == failures and max_features]
    best = max(judge.trials([[], *alone]), key=lambda found: found.rank)
    if best.members and not best.harmed:
        return best
    fitting = min(max(PAIRS[0], ROWS // judge.num_rows), PAIRS[1]) if max_features > 1 else 0
    pairs = [[one, other] for i, other in enumerate(members) for one in members[:i]][:fitting]
    by_repaired = sorted(candidates, key=lambda effect: -effect.repaired)[
        : min(ALONE, max_features)
    ]
    alone = [[effect.member] for effect in by_repaired if effect.repaired]
    members = members[:max_features]
    nested = [members[:size] for size in _sizes(len(members))]
    best = max([best, *judge.trials([*alone, *nested, *pairs])], key=lambda found: found.rank)
    return _without_superfluous(judge, best)


def _without_superfluous(judge: Judge, best: Found) -> Found:
    """The set without members that it does as much without, the weakest left out first."""

    def without(members: Sequence[Member]) -> list[Member]:
        return [member for member in best.members if member not in members]

    while len(best.members) > 1:
        each = judge.trials([without([member]) for member in best.members])
        idle = {
            member: found
            for member, found in zip(best.members[::-1], each[::-1], strict=True)
            if found.does_as_much_as(best)
        }
        if not idle:
            break
        out = list(idle)
        several = judge.trials([without(out[:count]) for count in range(2, len(out) + 1)])
        possible = [idle[out[0]], *(found for found in several if found.does_as_much_as(best))]
        best = possible[-1]
    return best


def _spread(study: Study, known: Found, controls: Batch | None, max_features: int) -> Found:
    learn, choose = _thirds(len(study.failures), study.seed)
    guard, judging = None, None
    if controls is not None:
        guarding, rest = _thirds(len(controls), study.seed)
        guard, judging = controls.cases(guarding), controls.cases(rest)
    price = FEATURE_PRICE * len(choose) / MEASURED_ON  # many features are what is looked for
    judge = Judge(study.of(choose), judging, price)
    (before,) = judge.trials([known.members])
    sets = list(learned_sets(study.of(learn), guard, max_features=max_features))
    best = max(judge.trials(sets), key=lambda found: found.score, default=before)
    return best if best.score > before.score + len(choose) ** -0.5 else before


def _thirds(count: int, seed: int) -> tuple[Int[Tensor, " two"], Int[Tensor, " one"]]:
    generator = torch.Generator().manual_seed(seeded(seed, "thirds") % 2**63)
    order = torch.randperm(count, generator=generator)
    return order[count // 3 :], order[: count // 3]


def _sizes(most: int) -> list[int]:
    sizes, size = [], 1
    while size < most:
        sizes.append(size)
        size = max(size + 1, round(size * GROWTH))
    return [*sizes, most] if most else []
