"""All units ranked by gradients: what exchanging each would do to the lead of the answer.

For each prompt and unit: its change between the prompt and the other one, times the gradient of the
lead there, averaged over points between the two prompts' embeddings (edge attribution with
integrated gradients, on nodes; Hanna et al., "Have Faith in Faithfulness", 2024). Negative: the
unit carries the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inscape.circuits.behaviour import START, Batch, Behaviour
from inscape.circuits.units import Unit
from inscape.core import seeded, track

MAX_UNITS = 4000  # kept of each batch, by size, where there are more (features)


@dataclass(frozen=True)
class Ranking:
    """What each unit does on each prompt: `effects` [prompt, unit], in logits."""

    units: list[Unit]
    effects: npt.NDArray[np.float64]

    def strongest(self, num: int) -> list[Unit]:
        """Those with the largest mean effect, of either sign."""
        order = np.argsort(-np.abs(self.effects.mean(0)), kind="stable")
        return [self.units[n] for n in order[:num]]

    def overlap(self, num: int, resamples: int, seed: int) -> float:
        """Mean Jaccard overlap of the strongest with those of resampled prompts."""
        generator = np.random.default_rng(seeded(seed, "resamples"))
        size = np.abs(self.effects.mean(0))
        own = set(np.argsort(-size, kind="stable")[:num].tolist())
        found = []
        for _ in range(resamples):
            rows = generator.integers(0, len(self.effects), len(self.effects))
            drawn = np.abs(self.effects[rows].mean(0))
            other = set(np.argsort(-drawn, kind="stable")[:num].tolist())
            found.append(len(own & other) / max(len(own | other), 1))
        return float(np.mean(found))


def rank(behaviour: Behaviour, steps: int = 3) -> Ranking:
    """Every unit on every prompt (see the module); `steps`: points between the prompts."""
    sites = behaviour.units.sites
    behaviour.keep(["embed", *sites])
    found: list[dict[Unit, npt.NDArray[np.float64]]] = []
    for batch in track(behaviour.batches, "ranking units", unit="batches"):
        gradients = _gradients(behaviour, batch, sites, steps)
        effects: dict[Unit, npt.NDArray[np.float64]] = {}
        for site in sites:
            own, other = behaviour.own(batch, site), behaviour.other(batch, site)
            parts = behaviour.units.parts(site, own, other, gradients[site]).double()
            for role, mask in batch.roles.items():
                if role == START:
                    continue
                by_unit = (parts * mask[..., None]).sum(1)
                there = by_unit.abs().sum(0).topk(min(MAX_UNITS, by_unit.shape[1]))
                for n in there.indices[there.values > 0].tolist():
                    unit = behaviour.units.unit(site, n, role)
                    effects[unit] = by_unit[:, n].cpu().numpy()
        found.append(effects)
    units = sorted({unit for effects in found for unit in effects})
    table = [
        np.stack([np.zeros(len(batch)), *(effects.get(u, np.zeros(len(batch))) for u in units)], 1)
        for batch, effects in zip(behaviour.batches, found, strict=True)
    ]
    return Ranking(units, np.concatenate(table)[:, 1:])


def _gradients(
    behaviour: Behaviour, batch: Batch, sites: list[str], steps: int
) -> dict[str, Tensor]:
    """Mean gradient of the lead at each site over the points between the prompts."""
    own, other = behaviour.own(batch, "embed"), behaviour.other(batch, "embed")
    total = {site: torch.zeros(()) for site in sites}
    for step in range(steps):
        kept: dict[str, Tensor] = {}

        def keep(site: str, x: Tensor, kept: dict[str, Tensor] = kept) -> Tensor:
            kept[site] = x
            return x

        point = own + (step / steps) * (other - own)
        edits = {site: lambda x, site=site: keep(site, x) for site in sites}
        edits["embed"] = lambda x, point=point: point.detach().clone().requires_grad_(True)
        run = behaviour.model.run(batch.tokens, read=["final"], edits=edits, grad=True)
        with torch.enable_grad():
            logits = behaviour.model.unembed(run["final"][:, -1]).float()
            goal = batch.lead(logits).sum()
        gradients = torch.autograd.grad(goal, [kept[site] for site in sites])
        for site, gradient in zip(sites, gradients, strict=True):
            total[site] = total[site].to(gradient) + gradient / steps
    return total
