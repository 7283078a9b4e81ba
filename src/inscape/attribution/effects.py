"""What features do to the targets in the model as it is: predicted by gradients, and measured.

A graph's edges hold attention patterns and norms still, so they do not say what happens when a
feature is removed: what it does by changing where attention looks is missing. Here nothing is held.

1. Predicted: activation times gradient of the targets, one backward pass through the model as it
   is.
2. Measured: the feature is removed (a neuron or what a head gives set to zero; what a dictionary's
   feature writes, as it was on the whole prompt, taken away) and everything after it runs anew.
   What the targets lose is its effect. Sets of features are removed together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.attribution.bases import Basis
from inscape.attribution.gradients import Gradients
from inscape.attribution.memory import settle
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import EMBED, Active, Reading, Sources
from inscape.core import track
from inscape.model import Run, Site

MAX_ROWS = 32
MAX_TOKENS = 2048  # of all rows of a pass


class FreePass:
    """One pass through the model as it is, with gradients, which it holds while it lives. `read`:
    sites that targets may be read from."""

    def __init__(self, reading: Reading, read: Collection[str] = ()) -> None:
        self.reading = reading
        self._gradients = Gradients[str]()
        self._read: dict[str, Tensor] = {}
        self._wanted = set(read)
        sites = [*(site for basis in reading.bases for site in written_by(basis)), *read]
        edits: dict[str | Site, Callable[[Tensor], Tensor]] = {
            site: partial(self._keep, site) for site in dict.fromkeys(sites)
        }
        edits[EMBED] = self._gradients.leaf
        run = reading.model.run(reading.prompt, read=["final"], edits=edits, grad=reading.grad)
        self.final = run["final"][0]

    def _keep(self, site: str, x: Tensor) -> Tensor:
        if site in self._wanted:
            self._read.setdefault(site, x)  # blocks may be computed again
        return self._gradients.tell(site, x)

    def close(self) -> None:
        """Lets go of the graph (see `Rows.close`)."""
        self._gradients.close()
        self._read.clear()
        self.final = self.final.detach()

    def at(self, site: str) -> Float[Tensor, "1 pos width"]:
        """What is at a site, with its gradients."""
        return self._read[site]

    def back(self, goal: Tensor, take: Callable[[str, Float[Tensor, "pos width"]], None]) -> None:
        """Tells the gradient of a number at each site that it depends on (see gradients.py)."""
        self._gradients.back(goal, lambda site, gradient: take(site, gradient[0].float()))

    def effects(self, number: int, part: Active, site: str, gradient: Tensor) -> Tensor:
        """What is lost without what each feature of a basis writes at a site, to first order."""
        basis = self.reading.bases[number]
        if basis.kind == "neurons":
            x, at = self.reading.inputs[basis.read], (part.position, part.feature)
            at = (at[0], at[1] % x.shape[1])
            return x[at] * gradient[at]
        rows = self.reading.decoders(number, part, site)
        return part.value * (rows * gradient[part.position]).sum(-1)


def predicted(reading: Reading, targets: Sequence[Linear]) -> list[Tensor]:
    """What the targets, weighted, lose without each feature, to first order: by basis [feature],
    for neurons [pos, width] (step 1)."""
    found: dict[int, Tensor] = {}
    free = FreePass(reading)

    def take(site: str, gradient: Tensor) -> None:
        for number, (basis, part) in enumerate(zip(reading.bases, reading.active, strict=True)):
            if site not in written_by(basis):
                continue
            if part is None:
                found[number] = reading.inputs[basis.read] * gradient
            else:
                more = free.effects(number, part, site, gradient)
                found[number] = found[number] + more if number in found else more

    with closing(free), torch.enable_grad():
        free.back(_goal(free.final, targets), take)
    settle(reading.grad)
    return [
        found.get(
            number, torch.zeros_like(reading.inputs[basis.read] if part is None else part.value)
        )
        for number, (basis, part) in enumerate(zip(reading.bases, reading.active, strict=True))
    ]


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
    is not 0, to be set to that activation, a head to give that vector."""

    basis: int
    feature: int
    position: int
    value: float
    to: float | Tensor = 0.0


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
        found = [run["final"].float() for run in self._runs(sets, ["final"], what)]
        return torch.cat([self.reading.final.new_zeros(0, *self.reading.final.shape), *found])

    @torch.no_grad()
    def read_less(
        self,
        sets: Sequence[Sequence[Removal]],
        places: Sequence[tuple[str, int, Tensor]],
        what: str = "measuring",
    ) -> Float[Tensor, "set place"]:
        """By how much less is read at each place without each set: a site, a position, and the
        vector [width] that is read there."""
        found = []
        for run in self._runs(sets, [site for site, *_ in places], what):
            lost = [
                (self.reading.inputs[site][position] - run[site][:, position].float()) @ vector
                for site, position, vector in places
            ]
            found.append(torch.stack(lost, 1))
        return torch.cat(found)

    def _runs(
        self, sets: Sequence[Sequence[Removal]], read: Sequence[str], what: str
    ) -> Iterator[Run]:
        rows = max(1, min(MAX_ROWS, MAX_TOKENS // len(self.reading.prompt)))
        parts = [sets[n : n + rows] for n in range(0, len(sets), rows)]
        for part in track(parts, what, unit="passes"):
            given = self.reading.prompt.repeated(len(part))
            wanted = list(dict.fromkeys(read))
            yield self.reading.model.run(given, read=wanted, edits=self._edits(part))

    def loss(self, final: Float[Tensor, "pos d_model"]) -> float:
        """What the targets, weighted, have lost there."""
        return self.whole - float(_goal(final, self.targets))

    def lost(self, sets: Sequence[Sequence[Removal]], what: str = "measuring") -> list[float]:
        """What the targets, weighted, lose without each set."""
        runs = self._runs(sets, ["final"], what)
        return [self.loss(final) for run in runs for final in run["final"]]

    def _edits(
        self, sets: Sequence[Sequence[Removal]]
    ) -> dict[str | Site, Callable[[Tensor], Tensor]]:
        by_site: dict[str, list[tuple[int, Removal]]] = {}
        for row, some in enumerate(sets):
            for one in some:
                for site in written_by(self.reading.bases[one.basis]):
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
            if basis.kind == "heads":
                given = x.reshape(*x.shape[:2], basis.model.num_heads(basis.layer), -1)
                for row, one in here:
                    given[row, one.position, one.feature] = one.to
                continue
            to = torch.tensor([float(one.to) for _, one in here], device=x.device)
            if basis.kind == "neurons":
                width = x.shape[-1]
                sign = torch.where(feature < width, 1.0, -1.0)
                x[rows, position, feature % width] = (sign * to).to(x.dtype)
                continue
            value = torch.tensor([one.value for _, one in here], device=x.device)
            written = (value - to)[:, None] * basis.decoders(feature, site)
            x.index_put_((rows, position), -written.to(x.dtype), accumulate=True)
        return x


def written_by(basis: Basis) -> tuple[str, ...]:
    """Where a feature's activation is changed: neurons at themselves, others where they write."""
    return (basis.read,) if basis.kind == "neurons" else basis.writes


def _goal(final: Float[Tensor, "pos d_model"], targets: Sequence[Linear]) -> Tensor:
    parts = [one.weight * (final[one.position].float() @ one.vector) for one in targets]
    return torch.stack(parts).sum()
