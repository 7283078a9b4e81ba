"""How well a circuit stands for the model: faithfulness, completeness, minimality, curves.

1. Ablated is whatever the circuit leaves out at the sites that it has members of: heads, neurons,
   for a dictionary the whole stream but for its members' features. BOS stays. Attention patterns
   are recomputed.
2. By the mean: of a role over all prompts and their others, elsewhere of the same place in prompts
   of the same template. By resampling: the other prompt's value. By zero.
3. With F the mean lead, M the model, C the circuit, ∅ everything there ablated:
   faithfulness = (F(C) − F(∅)) / (F(M) − F(∅)); completeness: the same with the members ablated
   and the rest kept, where low is good; minimality: what faithfulness loses without each member.
4. Curves (Mueller et al., "MIB", 2025): over growing shares of all units by rank, the rest
   exchanged with the other prompt: CPR is the area under faithfulness, CMD that of its distance
   from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from inscape.circuits.behaviour import ELSEWHERE, START, Batch, Behaviour, Edit, Outcomes, by_site
from inscape.circuits.ranking import Ranking
from inscape.circuits.units import Unit
from inscape.core import seeded, track

Ablation = Literal["mean", "resample", "zero"]
ABLATIONS: tuple[Ablation, ...] = ("mean", "resample", "zero")
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
RESAMPLES = 1000


@dataclass(frozen=True)
class Faithfulness:
    """Mean leads under one way of ablating, and what follows (see the module).

    model, empty, circuit, without: F(M), F(∅), F(C), and with the members alone ablated. value,
    interval: of faithfulness, by bootstrap over prompts (95 %). says: whether F(∅) is at most a
    fifth of F(M), without which it says nothing.
    """

    model: float
    empty: float
    circuit: float
    without: float
    value: float
    interval: tuple[float, float]
    completeness: float
    says: bool


class Ablator:
    """Runs of a behaviour with the sites of some units ablated."""

    def __init__(self, behaviour: Behaviour, sites: Sequence[str]) -> None:
        self.behaviour, self.sites = behaviour, list(sites)
        behaviour.keep(self.sites)
        self._means: dict[tuple[str, str], Tensor] = {}

    def keeping(self, units: Sequence[Unit], kind: Ablation) -> Outcomes:
        """All ablated but these units."""
        kept = by_site(units)

        def edits(batch: Batch, site: str) -> Edit:
            blank = self._blank(batch, site, kind)
            start = batch.roles.get(START)

            def edit(x: Tensor) -> Tensor:
                found = self.behaviour.units.set(blank.to(x), x, kept.get(site, []), batch.roles)
                return found if start is None else torch.where(start[..., None], x, found)

            return edit

        return self.behaviour.outcomes(self.sites, edits)

    def without(self, units: Sequence[Unit], kind: Ablation) -> Outcomes:
        """These units alone ablated."""
        gone = by_site(units)

        def edits(batch: Batch, site: str) -> Edit:
            blank = self._blank(batch, site, kind)
            return lambda x: self.behaviour.units.set(x, blank.to(x), gone[site], batch.roles)

        return self.behaviour.outcomes(gone, edits)

    def _blank(self, batch: Batch, site: str, kind: Ablation) -> Tensor:
        own, other = self.behaviour.own(batch, site), self.behaviour.other(batch, site)
        if kind == "zero":
            return torch.zeros_like(own)
        if kind == "resample":
            return other
        found = torch.cat([own, other]).mean(0, keepdim=True).expand_as(own)
        for role, mask in batch.roles.items():
            if role not in (START, ELSEWHERE):
                found = torch.where(mask[..., None], self._mean(site, role), found)
        return found

    def _mean(self, site: str, role: str) -> Tensor:
        if (site, role) not in self._means:
            values = [
                value[batch.roles[role]]
                for batch in self.behaviour.batches
                if role in batch.roles
                for value in (self.behaviour.own(batch, site), self.behaviour.other(batch, site))
            ]
            self._means[site, role] = torch.cat(values).mean(0)
        return self._means[site, role]


def faithfulness(
    ablator: Ablator, units: Sequence[Unit], kind: Ablation, whole: Outcomes, seed: int = 0
) -> Faithfulness:
    """See the module; `whole`: the model's own outcomes."""
    empty, kept = ablator.keeping([], kind), ablator.keeping(units, kind)
    without = ablator.without(units, kind)
    columns = np.array([whole.leads, empty.leads, kept.leads])
    generator = np.random.default_rng(seeded(seed, "faithfulness"))
    draws = generator.integers(0, columns.shape[1], (RESAMPLES, columns.shape[1]))
    model, blank, circuit = (column[draws].mean(1) for column in columns)
    drawn = (circuit - blank) / np.where(np.abs(model - blank) > 1e-9, model - blank, np.nan)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Faithfulness(
        model=whole.mean,
        empty=empty.mean,
        circuit=kept.mean,
        without=without.mean,
        value=_share(kept.mean, empty.mean, whole.mean),
        interval=(float(low), float(high)),
        completeness=_share(without.mean, empty.mean, whole.mean),
        says=empty.mean <= 0.2 * whole.mean,
    )


def _share(value: float, empty: float, whole: float) -> float:
    return (value - empty) / (whole - empty) if abs(whole - empty) > 1e-9 else float("nan")


def curve(behaviour: Behaviour, ranking: Ranking, whole: Outcomes) -> list[tuple[float, float]]:
    """(share of units kept, faithfulness), by rank of size, the rest exchanged (step 4)."""
    ranked = ranking.strongest(len(ranking.units))
    empty = behaviour.exchanged(ranked).mean
    found = []
    for share in track(SHARES, "measuring the curve", unit="sizes"):
        rest = ranked[max(1, round(share * len(ranked))) :]
        kept = behaviour.exchanged(rest).mean if rest else whole.mean
        found.append((share, _share(kept, empty, whole.mean)))
    return found


def areas(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """CPR and CMD of a curve: trapezoids over the share of units."""
    cpr = sum((b - a) * (u + v) / 2 for (a, u), (b, v) in pairwise(points))
    cmd = sum((b - a) * (abs(1 - u) + abs(1 - v)) / 2 for (a, u), (b, v) in pairwise(points))
    return cpr, cmd
