"""Sets of features removed, exchanged and restored in the model as it is, beside random sets.

1. Each set is removed: what is lost? Beside it as many random sets as are asked for: features that
   are no nodes, each of the basis and position of the one it stands for and of the next larger or
   smaller activation.
2. Where another prompt is given, the same sets are exchanged: set to what they are there (what is
   lost?), and there set to what they are here (what is gained?). Each token has its counterpart
   there (`counterparts`); what stands at a token that has none stays.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inscape.attribution.bases import head_values
from inscape.attribution.effects import Removal, Removals, activation
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import Reading, Sources
from inscape.core import quoted, seeded

NEAR = 10  # random features are drawn from so many of like activation
LONG = 256  # tokens from which on there are fewer random sets
Measure = Callable[[Removals, Sequence[Sequence[Removal]], str], Tensor]


@dataclass(frozen=True)
class Other:
    """Another prompt, read in the same bases. places: the token that stands for each of the
    prompt's, where there is one."""

    reading: Reading
    places: Mapping[int, int]

    def moved(self, removal: Removal) -> Removal:
        """A feature at the counterpart of its token."""
        return replace(removal, position=self.places[removal.position])

    def targets(self, targets: Sequence[Linear]) -> list[Linear]:
        """The same targets there."""
        return [one._replace(position=self.places[one.position]) for one in targets]


@dataclass(frozen=True)
class Measured:
    """What was lost, and gained, by each set and its random ones.

    removed, exchanged, restored [set, 1 + random, place]: of each place that was measured. moved:
    of each set whether any of it has a counterpart in the other prompt.
    """

    removed: Tensor
    exchanged: Tensor | None
    restored: Tensor | None
    moved: Sequence[bool] = ()

    def tests(self, number: int, place: int = 0) -> dict[str, Any]:
        """The fields of `Tests`, and `measured`, of a set."""
        measured, *controls = self.removed[number, :, place].tolist()
        found: dict[str, Any] = {"measured": measured, "controls": controls}
        for name, every in (("exchanged", self.exchanged), ("restored", self.restored)):
            if every is not None and self.moved[number]:
                own, *controls = every[number, :, place].tolist()
                found |= {name: own, f"{name}_controls": controls}
        return found


def targets_lost(removals: Removals, sets: Sequence[Sequence[Removal]], what: str) -> Tensor:
    """What the targets lose without each set [set, 1]."""
    return torch.tensor(removals.lost(sets, what), dtype=torch.float64)[:, None]


def intervene(
    sources: Sources,
    targets: Sequence[Linear],
    sets: Sequence[Sequence[Removal]],
    what: str,
    *,
    controls: int,
    other: Other | None = None,
    measure: Measure = targets_lost,
    seed: int = 0,
) -> Measured:
    """See the module. what: the sets, in a word, for the progress and the random draw; controls:
    random sets beside each."""
    if not sets:
        return Measured(torch.zeros(0, 1 + controls, 1), None, None)
    every = []
    for number, some in enumerate(sets):
        every.append(list(some))
        for control in range(controls):
            generator = random.Random(seeded(seed, what, number, control))
            every.append(alike(sources, some, generator))

    def by_set(found: Tensor) -> Tensor:
        return found.reshape(len(sets), 1 + controls, -1)

    own = Removals(sources.reading, targets)
    removed = by_set(measure(own, every, f"removing {what}"))
    if other is None:
        return Measured(removed, None, None)
    there = [
        [replace(one, to=_on(other.reading, other.moved(one))) for one in some]
        for some in [[one for one in some if one.position in other.places] for some in every]
    ]
    back = [
        [
            replace(other.moved(one), value=_size(one.to), to=_on(sources.reading, one))
            for one in some
        ]
        for some in there
    ]
    beside = Removals(other.reading, other.targets(targets))
    exchanged = by_set(measure(own, there, f"exchanging {what}"))
    restored = -by_set(measure(beside, back, f"restoring {what}"))
    return Measured(removed, exchanged, restored, [bool(one) for one in there[:: 1 + controls]])


def without_counterpart(texts: Sequence[str], places: Mapping[int, int]) -> list[str]:
    """What is to be said of the tokens of a prompt that are never exchanged."""
    alone = [f"{quoted(text)}@{n}" for n, text in enumerate(texts) if n not in places]
    if not alone:
        return []
    return [f"without a counterpart in the other prompt, and never exchanged: {' '.join(alone)}"]


def fewer(sources: Sources, num: int, few: int) -> int:
    """How many random sets, or sets, there are: `few` on long prompts, whose passes take long."""
    return num if sources.num_positions <= LONG else min(num, few)


def _on(reading: Reading, one: Removal) -> float | Tensor:
    """The activation of a feature on a prompt; what a head gives there."""
    basis = reading.bases[one.basis]
    if basis.kind == "heads":
        given = reading.inputs[basis.read][one.position, None]
        return head_values(given, basis.model.num_heads(basis.layer))[0, one.feature]
    return activation(one, reading.inputs, reading.active, basis.read)


def _size(value: float | Tensor) -> float:
    return float(value.norm()) if isinstance(value, Tensor) else value


def alike(sources: Sources, some: Sequence[Removal], generator: random.Random) -> list[Removal]:
    """For each feature another of its basis and position, about as active, that is no node; none
    twice."""
    found: list[Removal] = []
    for one in some:
        drawn = [r.feature for r in found if (r.basis, r.position) == (one.basis, one.position)]
        features, values = _others(sources, one, drawn)
        if len(features):
            near = (values - one.value).abs().argsort()[:NEAR].tolist()
            chosen = generator.choice(near)
            found.append(
                Removal(one.basis, int(features[chosen]), one.position, float(values[chosen]))
            )
    return found


def _others(sources: Sources, one: Removal, drawn: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Features that are no nodes at a feature's place, but for those drawn, and their values."""
    reading = sources.reading
    part, nodes = reading.active[one.basis], sources.features[one.basis]
    if part is None:
        x = reading.inputs[reading.bases[one.basis].read][one.position]
        features = torch.arange(len(x), device=x.device) + len(x) * (x < 0)
        values = x.abs()
    else:
        here = part.position == one.position
        features, values = part.feature[here], part.value[here]
    taken = torch.cat(
        [nodes.feature[nodes.position == one.position], nodes.feature.new_tensor(list(drawn))]
    )
    free = ~torch.isin(features, taken)
    return features[free], values[free]
