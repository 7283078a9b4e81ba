"""What features do to the targets in the model as it is: predicted by gradients, and measured.

A graph's edges hold attention patterns and norms still, so they do not say what happens when a
feature is removed: what it does by changing where attention looks is missing. Here nothing is held.

1. Predicted: activation times gradient of the targets, one backward pass through the model as it
   is.
2. Measured: the feature is removed (a neuron set to zero; what a dictionary's feature writes, as it
   was on the whole prompt, taken away) and everything after it runs anew. What the targets lose is
   its effect. Sets of features are removed together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.attribution.bases import Basis
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import EMBED, Active, Reading, Sources
from inscape.core import track
from inscape.model import Site

MAX_ROWS = 32
MAX_TOKENS = 2048  # of all rows of a pass


def predicted(reading: Reading, targets: Sequence[Linear]) -> list[Tensor]:
    """What the targets, weighted, lose without each feature, to first order: by basis [feature],
    for neurons [pos, width] (step 1)."""
    kept: dict[str, Tensor] = {}

    def keep(site: str, x: Tensor) -> Tensor:
        kept.setdefault(site, x)  # blocks may be computed again
        return x

    sites = dict.fromkeys(site for basis in reading.bases for site in _written(basis))
    edits: dict[str | Site, Callable[[Tensor], Tensor]] = {s: partial(keep, s) for s in sites}
    edits[EMBED] = lambda x: x.detach().clone().requires_grad_(True)
    run = reading.model.run(reading.prompt, read=["final"], edits=edits, grad=reading.grad)
    with torch.enable_grad():
        goal = _goal(run["final"][0], targets)
    ends = list(kept.values())
    found = torch.autograd.grad(goal, ends, allow_unused=True) if ends else ()
    gradients = {
        site: torch.zeros_like(x[0]) if g is None else g[0].float()
        for (site, x), g in zip(kept.items(), found, strict=True)
    }
    effects = []
    for basis, part in zip(reading.bases, reading.active, strict=True):
        if part is None:
            effects.append(reading.inputs[basis.read] * gradients[basis.read])
            continue
        total = torch.zeros_like(part.value)
        for site in _written(basis):
            rows = basis.decoders(part.feature, site)
            total += part.value * (rows * gradients[site][part.position]).sum(-1)
        effects.append(total)
    return effects


def of_nodes(
    reading: Reading, effects: Sequence[Tensor], features: Sequence[Active]
) -> Float[Tensor, " node"]:
    """The effects of the features that are nodes, as they are numbered."""
    found = []
    for number, (effect, part) in enumerate(zip(effects, features, strict=True)):
        every = reading.active[number]
        if every is None:
            found.append(effect[part.position, part.feature % effect.shape[1]])
            continue
        size = int(every.feature.max()) + 1 if every.num else 1
        place = every.position * size + every.feature
        order = place.argsort()
        at = torch.searchsorted(place[order], part.position * size + part.feature)
        found.append(effect[order[at]])
    return torch.cat(found) if found else reading.final.new_zeros(0)


@dataclass(frozen=True)
class Removal:
    """A feature of a basis to be removed: its number there, position and activation; or, where `to`
    is not 0, to be set to that activation."""

    basis: int
    feature: int
    position: int
    value: float
    to: float = 0.0


def removals_of(sources: Sources) -> list[Removal]:
    """Every feature that is a node, as they are numbered."""
    return [
        Removal(number, feature, position, value)
        for number, part in enumerate(sources.features)
        for position, feature, value in zip(*(column.tolist() for column in part), strict=True)
    ]


def activation(
    one: Removal, inputs: Mapping[str, Tensor], active: Sequence[Active | None], read: str
) -> float:
    """What a feature is, of what its basis reads at `read` (see `Reading`); of a neuron its value
    with the feature's sign."""
    part = active[one.basis]
    if part is None:
        x = inputs[read][one.position]
        sign = 1.0 if one.feature < len(x) else -1.0
        return sign * float(x[one.feature % len(x)])
    there = (part.feature == one.feature) & (part.position == one.position)
    return float(part.value[there].sum())


class Removals:
    """Runs a prompt with sets of features removed, or set to other activations (step 2)."""

    def __init__(self, reading: Reading, targets: Sequence[Linear]) -> None:
        self.reading, self.targets = reading, targets
        self.whole = float(_goal(reading.final, targets))

    @torch.no_grad()
    def finals(
        self, sets: Sequence[Sequence[Removal]], what: str = "measuring"
    ) -> Float[Tensor, "set pos d_model"]:
        """The final norm's output without each set; `what` is told as progress."""
        rows = max(1, min(MAX_ROWS, MAX_TOKENS // len(self.reading.prompt)))
        found = [self.reading.final.new_zeros(0, *self.reading.final.shape)]
        parts = [sets[n : n + rows] for n in range(0, len(sets), rows)]
        for part in track(parts, what, unit="passes"):
            given = self.reading.prompt.repeated(len(part))
            run = self.reading.model.run(given, read=["final"], edits=self._edits(part))
            found.append(run["final"].float())
        return torch.cat(found)

    def loss(self, final: Float[Tensor, "pos d_model"]) -> float:
        """What the targets, weighted, have lost there."""
        return self.whole - float(_goal(final, self.targets))

    def lost(self, sets: Sequence[Sequence[Removal]], what: str = "measuring") -> list[float]:
        """What the targets, weighted, lose without each set."""
        return [self.loss(final) for final in self.finals(sets, what)]

    def _edits(
        self, sets: Sequence[Sequence[Removal]]
    ) -> dict[str | Site, Callable[[Tensor], Tensor]]:
        by_site: dict[str, list[tuple[int, Removal]]] = {}
        for row, some in enumerate(sets):
            for one in some:
                for site in _written(self.reading.bases[one.basis]):
                    by_site.setdefault(site, []).append((row, one))
        return {site: partial(self._remove, site, gone) for site, gone in by_site.items()}

    def _remove(self, site: str, gone: Sequence[tuple[int, Removal]], x: Tensor) -> Tensor:
        x = x.clone()
        for number in {one.basis for _, one in gone}:
            basis = self.reading.bases[number]
            here = [(row, one) for row, one in gone if one.basis == number]
            rows = torch.tensor([row for row, _ in here], device=x.device)
            position = torch.tensor([one.position for _, one in here], device=x.device)
            feature = torch.tensor([one.feature for _, one in here], device=x.device)
            to = torch.tensor([one.to for _, one in here], device=x.device)
            if basis.kind == "neurons":
                width = x.shape[-1]
                sign = torch.where(feature < width, 1.0, -1.0)
                x[rows, position, feature % width] = (sign * to).to(x.dtype)
                continue
            value = torch.tensor([one.value for _, one in here], device=x.device)
            written = (value - to)[:, None] * basis.decoders(feature, site)
            x.index_put_((rows, position), -written.to(x.dtype), accumulate=True)
        return x


def _written(basis: Basis) -> tuple[str, ...]:
    """Where a feature's activation is changed: neurons at themselves, others where they write."""
    return (basis.read,) if basis.kind == "neurons" else basis.writes


def _goal(final: Float[Tensor, "pos d_model"], targets: Sequence[Linear]) -> Tensor:
    parts = [one.weight * (final[one.position].float() @ one.vector) for one in targets]
    return torch.stack(parts).sum()
