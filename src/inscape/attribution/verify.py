"""A graph's predictions beside what the model does: every graph carries this.

1. The features with the largest predicted effects are removed from the model as it is, one at a
   time: predicted beside measured, and their rank correlation.
2. The strongest of them are removed together, in sets of growing size, and beside each as many
   random sets: features that are no nodes, each of the basis and position of the one it stands for
   and of the next larger or smaller activation.
3. Where another prompt of as many tokens is given, the same sets are exchanged: set to what they
   are there (what do the targets lose?), and there to what they are here (what do they gain?).
4. The graph is marked where its predictions fail: a rank correlation below one half, or the largest
   set no stronger than the random sets.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from inscape.attribution.bases import head_values
from inscape.attribution.data import Link, Node, Removed, Verification
from inscape.attribution.effects import Removal, Removals, activation, removals_of
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import Reading, Sources
from inscape.core import quoted, seeded

LEAST = 0.5  # rank correlation of a graph that holds
CONTROLS, NEAR, SIZES = 10, 10, (3, 10)
LONG, FEW = 256, 5  # tokens from which on there are fewer random sets


def verify(
    sources: Sources,
    nodes: Sequence[Node],
    targets: Sequence[Linear],
    num: int,
    other: Reading | None = None,
    controls: int = CONTROLS,
    seed: int = 0,
) -> Verification:
    """See the module. nodes: of the whole graph, with their predicted effects; those that are
    removed, at most `num`, get what is measured. other: the other prompt."""
    removals = Removals(sources.reading, targets)
    controls = controls if sources.num_positions <= LONG else min(controls, FEW)
    every = removals_of(sources)
    effects = [node.effect or 0.0 for node in nodes[: sources.num_features]]
    order = sorted(range(len(effects)), key=lambda n: -abs(effects[n]))[:num]
    singles = removals.lost([[every[n]] for n in order], "removing features")
    for n, lost in zip(order, singles, strict=True):
        nodes[n].measured = lost
    guess = [effects[n] for n in order]
    by_sign = sorted((n for n in order if effects[n] > 0), key=lambda n: -effects[n])
    sizes = sorted({size for size in SIZES if size < len(by_sign)} | {len(by_sign)})
    numbers, sets = [by_sign[:size] for size in sizes if size], []
    for number, some in enumerate(numbers):
        sets.append([every[n] for n in some])
        for control in range(controls):
            generator = random.Random(seeded(seed, "controls", number, control))
            sets.append(alike(sources, [every[n] for n in some], generator))
    measured = removals.lost(sets, "removing sets")
    swapped, restored = _exchanged(removals, other, sets)
    step = controls + 1
    together = [
        Removed(
            num=len(some),
            predicted=sum(effects[n] for n in some),
            measured=measured[first],
            controls=measured[first + 1 : first + step],
            exchanged=swapped[first] if swapped else None,
            exchanged_controls=swapped[first + 1 : first + step],
            restored=restored[first] if restored else None,
            restored_controls=restored[first + 1 : first + step],
        )
        for first, some in zip(range(0, len(sets), step), numbers, strict=True)
    ]
    agreement = spearman(guess, singles)
    return Verification(
        num=len(order),
        agreement=agreement,
        together=together,
        holds=_holds(agreement, together),
        other=None if other is None else other.prompt.text,
        gap=None if other is None else removals.whole - Removals(other, targets).whole,
    )


def _exchanged(
    removals: Removals, other: Reading | None, sets: Sequence[Sequence[Removal]]
) -> tuple[list[float], list[float]]:
    """What the targets lose with each set as in the other prompt, and gain there (step 3)."""
    if other is None:
        return [], []
    there = [[replace(one, to=_on(other, one)) for one in some] for some in sets]
    back = [
        [replace(one, value=_size(one.to), to=_on(removals.reading, one)) for one in some]
        for some in there
    ]
    lost = removals.lost(there, "exchanging sets")
    return lost, [-one for one in Removals(other, removals.targets).lost(back, "restoring sets")]


def _on(reading: Reading, one: Removal) -> float | Tensor:
    """The activation of a feature on a prompt; what a head gives there."""
    basis = reading.bases[one.basis]
    if basis.kind == "heads":
        given = reading.inputs[basis.read][one.position, None]
        return head_values(given, basis.model.num_heads(basis.layer))[0, one.feature]
    return activation(one, reading.inputs, reading.active, basis.read)


def _size(value: float | Tensor) -> float:
    return float(value.norm()) if isinstance(value, Tensor) else value


def _holds(agreement: float | None, together: Sequence[Removed]) -> bool:
    if agreement is not None and agreement < LEAST:
        return False
    return not together or together[-1].measured > max(together[-1].controls, default=0.0)


def spearman(one: Sequence[float], two: Sequence[float]) -> float | None:
    """Rank correlation; None of fewer than three, or where all are alike."""
    if len(one) < 3:
        return None
    x, y = rankdata(one), rankdata(two)
    if x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


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


def links_described(links: Sequence[Link]) -> str:
    """How many edges hold, as a line of text."""
    held = sum(one.holds for one in links)
    return (
        f"strongest edges between features in the model as it is: {held} of {len(links)} hold "
        "(what the second loses without the first, predicted and measured)"
    )


def described(found: Verification) -> list[str]:
    """As lines of text."""
    rank = "not defined" if found.agreement is None else f"{found.agreement:.2f}"
    lines = [
        f"predicted effects {'hold' if found.holds else 'FAIL'} in the model as it is: rank "
        f"correlation {rank} with {found.num} features removed one at a time"
    ]
    for some in found.together:
        most = max(some.controls, default=0.0)
        lines.append(
            f"  without the {some.num} best together: {some.predicted:+.2f} predicted, "
            f"{some.measured:+.2f} measured; without {some.num} random ones {most:+.2f} at most "
            f"({len(some.controls)} sets)"
        )
    last = found.together[-1] if found.together else None
    if last is not None and last.exchanged is not None and last.restored is not None:
        lines += [
            f"beside {quoted(found.other or '')}, on which the targets are {found.gap or 0.0:.2f} "
            f"lower, the {last.num} best together:",
            f"  as they are there: {last.exchanged:+.2f} lost; as many random ones "
            f"{max(last.exchanged_controls, default=0.0):+.2f} at most",
            f"  there as they are here: {last.restored:+.2f} regained; as many random ones "
            f"{max(last.restored_controls, default=0.0):+.2f} at most",
        ]
    return lines
