"""A graph's predictions beside what the model does: every graph carries this.

1. The features with the largest predicted effects are removed from the model as it is, one at a
   time: predicted beside measured, and their rank correlation.
2. The strongest of them are removed together, in sets of growing size, and beside each as many
   random sets; with another prompt they are exchanged and restored too (interventions.py).
3. The graph is marked where its predictions fail: a rank correlation below one half, or the largest
   set no stronger than the random sets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from inscape.attribution.data import Link, Node, Removed, Tests, Verification
from inscape.attribution.effects import Removals, removals_of
from inscape.attribution.interventions import Other, fewer, intervene
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import Sources
from inscape.core import quoted

LEAST = 0.5  # rank correlation of a graph that holds
CONTROLS, FEW, SIZES = 10, 5, (3, 10)


def verify(
    sources: Sources,
    nodes: Sequence[Node],
    targets: Sequence[Linear],
    num: int,
    other: Other | None = None,
    controls: int = CONTROLS,
    seed: int = 0,
) -> Verification:
    """See the module. nodes: of the whole graph, with their predicted effects; those that are
    removed, at most `num`, get what is measured. other: the other prompt."""
    removals = Removals(sources.reading, targets)
    every = removals_of(sources)
    effects = [node.effect or 0.0 for node in nodes[: sources.num_features]]
    order = sorted(range(len(effects)), key=lambda n: -abs(effects[n]))[:num]
    singles = removals.lost([[every[n]] for n in order], "removing features")
    for n, lost in zip(order, singles, strict=True):
        nodes[n].measured = lost
    guess = [effects[n] for n in order]
    by_sign = sorted((n for n in order if effects[n] > 0), key=lambda n: -effects[n])
    sizes = sorted({size for size in SIZES if 1.3 * size < len(by_sign)} | {len(by_sign)})
    sets = [by_sign[:size] for size in sizes if size]
    found = intervene(
        sources,
        targets,
        [[every[n] for n in some] for some in sets],
        "sets",
        controls=fewer(sources, controls, FEW),
        other=other,
        seed=seed,
    )
    together = [
        Removed(num=len(some), predicted=sum(effects[n] for n in some), **found.tests(number))
        for number, some in enumerate(sets)
    ]
    agreement = spearman(guess, singles)
    gap = None
    if other is not None:
        gap = removals.whole - Removals(other.reading, other.targets(targets)).whole
    return Verification(
        num=len(order),
        agreement=agreement,
        together=together,
        holds=_holds(agreement, together),
        other=None if other is None else other.reading.prompt.text,
        gap=gap,
    )


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


def links_described(links: Sequence[Link]) -> str:
    """How many edges hold, as a line of text."""
    held = sum(one.holds for one in links)
    return (
        f"strongest edges between features in the model as it is: {held} of {len(links)} hold with "
        "the first removed (what the second loses, predicted and measured)"
    )


def _best(num: int) -> str:
    return f"the {num} best together" if num > 1 else "the best"


def random_ones(tests: Tests) -> str:
    """What random features in place of these lose at most, to follow other words; else nothing."""
    if not tests.controls:
        return ""
    return f"; random ones {max(map(abs, tests.controls)):.2f} at most"


def beside_other(tests: Tests) -> str:
    """What exchanging with the other prompt does, as a sentence; nothing where there is none."""
    if tests.exchanged is None or tests.restored is None:
        return ""
    there = max(map(abs, tests.exchanged_controls), default=0.0)
    here = max(map(abs, tests.restored_controls), default=0.0)
    return (
        f"as in the other prompt {tests.exchanged:+.2f} lost (random ones {there:.2f} at most); "
        f"there as here {tests.restored:+.2f} gained (random ones {here:.2f} at most)"
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
        which = _best(some.num)
        random = f"{some.num} random ones" if some.num > 1 else "a random one"
        lines.append(
            f"  without {which}: {some.predicted:+.2f} predicted, {some.measured:+.2f} measured; "
            f"without {random} {most:+.2f} at most ({len(some.controls)} sets)"
        )
    last = found.together[-1] if found.together else None
    gap = found.gap or 0.0
    if last is not None and last.exchanged is not None and last.restored is not None:
        lines += [
            f"beside {quoted(found.other or '')}, on which the targets are {abs(gap):.2f} "
            f"{'lower' if gap >= 0 else 'higher'}, {_best(last.num)}:",
            f"  as they are there: {last.exchanged:+.2f} lost; as many random ones "
            f"{max(last.exchanged_controls, default=0.0):+.2f} at most",
            f"  there as they are here: {last.restored:+.2f} regained; as many random ones "
            f"{max(last.restored_controls, default=0.0):+.2f} at most",
        ]
    return lines
