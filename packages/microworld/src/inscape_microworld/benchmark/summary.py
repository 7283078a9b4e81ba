"""A system's matches held against the probe: the shares that the benchmark reports.

1. A concept takes part where the probe detects it (F1 ≥ PROBED on the judging half).
2. It is found by a feature (by a union) where that F1 is at least FOUND of the probe's.
3. Concepts that token or bigram alone detect (see Ceiling.needs_context) are told apart.
4. Splitting: how many features reach 0.9 of a union's F1. Merging: features that are the best one
   of several concepts.
Intervals are bootstrap intervals over concepts (95 %); documents are those of the judging half.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inscape.core import seeded
from inscape_microworld.benchmark.baselines import Ceiling
from inscape_microworld.benchmark.matching import ConceptMatch
from inscape_microworld.benchmark.row import Check, Row

PROBED, FOUND = 0.9, 0.9
NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Mean:
    """A mean over concepts with its interval; NaN of none."""

    value: float
    interval: tuple[float, float]
    count: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        value = self.value if self.count else None
        return {"value": value, "interval": list(self.interval), "count": self.count}


@dataclass(frozen=True)
class SystemScore:
    """Shares of a system. By group ("all", "needs context", "without context"): found by one
    feature, and by a union; needed: features for 0.9 of a union; merged: concepts whose best
    feature is the best of another one too; f1 and auroc: means of the best single feature, over
    every matched concept.
    """

    system: str
    single: Mapping[str, Mean]
    union: Mapping[str, Mean]
    needed: Mean
    merged: Mean
    f1: Mean
    auroc: Mean
    merging: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        means = {k: getattr(self, k).to_json() for k in ("needed", "merged", "f1", "auroc")}
        return {
            "system": self.system,
            "single": {k: m.to_json() for k, m in self.single.items()},
            "union": {k: m.to_json() for k, m in self.union.items()},
            **means,
            "merging": {str(f): list(names) for f, names in self.merging.items()},
        }


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> Mean:
    """The mean of concepts' figures, concepts drawn anew NUM_RESAMPLES times."""
    if not len(values):
        return Mean(float("nan"), (float("nan"), float("nan")), 0)
    x = np.asarray(values, np.float64)
    generator = np.random.default_rng(seeded(seed, "bootstrap over concepts"))
    means = x[generator.integers(0, len(x), (NUM_RESAMPLES, len(x)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Mean(float(x.mean()), (float(low), float(high)), len(x))


def score_system(
    system: str, matches: Sequence[ConceptMatch], ceilings: Mapping[str, Ceiling], *, seed: int = 0
) -> SystemScore:
    """The shares of a system; every match's concept has its ceiling."""
    probed = [m for m in matches if ceilings[m.concept].probe_f1 >= PROBED]
    groups = {
        "all": probed,
        "needs context": [m for m in probed if ceilings[m.concept].needs_context],
        "without context": [m for m in probed if not ceilings[m.concept].needs_context],
    }
    owners = Counter(m.feature for m in probed if m.feature >= 0)
    merging = {
        f: tuple(m.concept for m in probed if m.feature == f)
        for f, count in sorted(owners.items())
        if count > 1
    }

    def share(group: Sequence[ConceptMatch], union: bool) -> Mean:
        return bootstrap_mean(
            [
                float((m.union_f1 if union else m.f1) >= FOUND * ceilings[m.concept].probe_f1)
                for m in group
            ],
            seed,
        )

    return SystemScore(
        system=system,
        single={name: share(group, False) for name, group in groups.items()},
        union={name: share(group, True) for name, group in groups.items()},
        needed=bootstrap_mean([m.needed for m in probed if m.features], seed),
        merged=bootstrap_mean([float(owners[m.feature] > 1) for m in probed], seed),
        f1=bootstrap_mean([m.f1 for m in matches], seed),
        auroc=bootstrap_mean([m.auroc for m in matches], seed),
        merging=merging,
    )


def row(
    scores: Sequence[SystemScore],
    ceilings: Mapping[str, Ceiling],
    num_documents: int,
    bars: Mapping[str, str] | None = None,
    name: str = "concepts",
) -> Row:
    """The shares of every system; `bars` by check name ("<system>, single", "<system>, union")."""
    given = bars or {}
    checks = []
    for s in scores:
        for kind, means in (("single", s.single), ("union", s.union)):
            for group, mean in means.items():
                label = f"{s.system}, {kind}" + ("" if group == "all" else f", {group}")
                checks.append(Check(label, mean.value, given.get(label, ""), mean.interval))
    probed = sum(c.probe_f1 >= PROBED for c in ceilings.values())
    context = sum(c.probe_f1 >= PROBED and c.needs_context for c in ceilings.values())
    return Row(
        name,
        "concepts that the probe detects, found by one feature and by a union of at most five",
        tuple(checks),
        samples=f"{probed} of {len(ceilings)} concepts ({context} need context), "
        f"{num_documents // 2} documents to judge; intervals over concepts",
        detail={
            "features for 0.9 of the union": {s.system: s.needed.value for s in scores},
            "merged": {s.system: s.merged.value for s in scores},
            "mean F1": {s.system: s.f1.value for s in scores},
            "mean AUROC": {s.system: s.auroc.value for s in scores},
        },
    )
