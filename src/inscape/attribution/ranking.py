"""Which features become nodes: all of them ranked by gradients, the best within a budget.

1. One pass with attention patterns and norm denominators held in which every MLP passes gradients:
   one read as its neurons by the half rule (its activation function is its held ratio of output to
   input, and a product passes half to each side), one with a transcoder through its active features
   and its skip.
2. One backward pass from each target. What a feature does to the target is its activation times
   the gradient at it, over all paths.
3. The largest by size, summed over the targets with their weights, within the budget.

Jafari et al., "RelP: Faithful and Efficient Circuit Discovery via Relevance Patching" (2025);
Arora et al., arXiv 2601.22594 (neurons).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.attribution.gradients import Gradients
from inscape.attribution.memory import settle
from inscape.attribution.sources import EMBED, Active, Reading, neuron_values
from inscape.core import ModelError, track
from inscape.model import Looking, Site


class Linear(NamedTuple):
    """A target: what a vector reads of the final norm's output at a position."""

    position: int
    vector: Float[Tensor, " d_model"]
    weight: float


class Score(NamedTuple):
    """A target: how much a head, at one position, looks for what is at another."""

    layer: int
    head: int
    query: int
    key: int


def choose(
    reading: Reading,
    targets: Sequence[Linear | Score],
    most: int,
    moving: Sequence[Tensor] | None = None,
) -> list[Active]:
    """The features that become nodes, by basis. moving: effects in the model as it is (effects.py);
    a feature counts by the larger of the two."""
    known = [part for part in reading.active if part is not None]
    trained = all(basis.kind in ("transcoder", "heads") for basis in reading.bases)
    if trained and sum(part.num for part in known) <= most:
        return known
    sizes = effects(reading, targets)
    if moving is not None:
        sizes = [torch.maximum(a, b.abs()) for a, b in zip(sizes, moving, strict=True)]
    found: list[tuple[Tensor, Active]] = []
    for number, size in enumerate(sizes):
        if size.ndim == 2 and reading.begins:
            size[0] = 0
        flat = size.flatten()
        best = flat.topk(min(most, len(flat)))
        kept = best.indices[best.values > 0].sort().values
        part = reading.active[number]
        if part is None:
            part = neuron_values(reading.inputs[reading.bases[number].read], kept)
        else:
            part = part.take(kept)
        found.append((flat[kept], part))
    every = torch.cat([size for size, _ in found])
    if len(every) > most:
        least = every.topk(most).values[-1]
        found = [(size[size >= least], part.take(size >= least)) for size, part in found]
    return [part for _, part in found]


def choose_each(
    reading: Reading, targets: Sequence[Linear], num: int
) -> tuple[list[Active], list[list[int]]]:
    """The `num` features that do most to each target: those of all targets together, by basis, and
    for each target the numbers of its own among them."""
    passed = _Pass(reading)
    device = reading.final.device
    own: list[tuple[Tensor, Tensor]] = []  # by target: number of the basis, entry there
    for one in track(targets, "ranking", unit="tokens"):
        best: dict[int, tuple[Tensor, Tensor]] = {}

        def take(number: int, effect: Tensor, best: dict[int, Any] = best) -> None:
            if effect.ndim == 2 and reading.begins:
                effect[0] = 0
            best[number] = effect.abs().flatten().topk(min(num, effect.numel()))

        passed.back(passed.value(one), take)
        numbers = sorted(best)  # as the gradients come, the last basis is the first
        none = torch.zeros(0, dtype=torch.long, device=device)
        size = torch.cat([none.float(), *(best[n][0] for n in numbers)])
        bases = torch.cat([none, *(torch.full_like(best[n][1], n) for n in numbers)])
        entries = torch.cat([none, *(best[n][1] for n in numbers)])
        order = size.topk(min(num, len(size))).indices
        order = order[size[order] > 0]
        own.append((bases[order], entries[order]))
    passed.close()
    features: list[Active] = []
    place: dict[tuple[int, int], int] = {}
    first = 0
    for number, basis in enumerate(reading.bases):
        there = [entries[bases == number] for bases, entries in own]
        chosen = torch.unique(torch.cat([torch.zeros(0, dtype=torch.long, device=device), *there]))
        part = reading.active[number]
        features.append(
            neuron_values(reading.inputs[basis.read], chosen) if part is None else part.take(chosen)
        )
        place |= {(number, entry): first + n for n, entry in enumerate(chosen.tolist())}
        first += len(chosen)
    chosen_by = [
        [place[pair] for pair in zip(bases.tolist(), entries.tolist(), strict=True)]
        for bases, entries in own
    ]
    return features, chosen_by


def effects(reading: Reading, targets: Sequence[Linear | Score]) -> list[Tensor]:
    """What each feature does to the targets, signs dropped: [feature], for neurons [pos, width]."""
    passed = _Pass(reading, {one.layer for one in targets if isinstance(one, Score)})
    total = [torch.zeros_like(value) for value in passed.values]
    for one in _together(targets) if reading.grad == "recompute" else targets:
        weight = getattr(one, "weight", 1.0)

        def take(number: int, effect: Tensor, weight: float = weight) -> None:
            total[number] += weight * effect.abs_()

        passed.back(passed.value(one), take)
    passed.close()
    settle(reading.grad)
    return total


def _together(targets: Sequence[Linear | Score]) -> Sequence[Linear | Score]:
    """Targets at one position as one, their weighted sum: where every backward pass computes all
    blocks again."""
    linear = [one for one in targets if isinstance(one, Linear)]
    if len(linear) < len(targets) or len({one.position for one in linear}) != 1:
        return targets
    vector = torch.stack([one.weight * one.vector for one in linear]).sum(0)
    return [Linear(linear[0].position, vector, 1.0)]


class _Pass:
    """One forward pass through whose MLPs gradients go; holds its graph while it lives.

    values: activations by basis, [feature] or of neurons [pos, width].
    """

    def __init__(self, reading: Reading, looking: Collection[int] = ()) -> None:
        self.reading = reading
        self._inputs: dict[str, Tensor] = {}
        self._skips = reading.skips()
        self._gradients = Gradients[int]()
        bases, model = reading.bases, reading.model
        self.values = [
            reading.inputs[basis.read] if part is None else part.value
            for basis, part in zip(bases, reading.active, strict=True)
        ]
        self._sources: dict[int, Tensor] = {}  # of transcoders
        edits: dict[str | Site, Callable[[Tensor], Tensor]] = {EMBED: self._gradients.leaf}
        for number, basis in enumerate(bases):
            if basis.kind != "transcoder":
                edits[basis.read] = partial(self._gradients.tell, number)
                continue
            edits[basis.read] = partial(self._encode, number)
            for site in basis.writes:
                edits[site] = partial(self._decode, site)
        own = {b.layer for b in bases if b.kind == "neurons"}
        noted: dict[int, list[Looking]] = {layer: [] for layer in looking}
        with model.linearised(mlps=own, looking=noted):
            run = model.run(reading.prompt, read=["final"], edits=edits, grad=reading.grad)
        self._final, self._looks = run["final"], noted

    def _encode(self, number: int, x: Tensor) -> Tensor:
        basis, part = self.reading.bases[number], self.reading.active[number]
        assert part is not None
        self._inputs.setdefault(basis.read, x)  # blocks may be computed again
        rows = self.reading.encoders(number, part)
        source = (x[0, part.position].float() * rows).sum(-1)
        if number not in self._sources:
            self._sources[number] = self._gradients.tell(number, source)
        return x

    def _decode(self, site: str, x: Tensor) -> Tensor:
        passed = torch.zeros_like(x[0], dtype=torch.float32)
        layer = int(site.removeprefix("mlp_out."))
        for number in self.reading.of(layer):
            basis, part, value = self._of(number)
            moved = (value - value.detach())[:, None] * self.reading.decoders(number, part, site)
            passed = passed.index_add(0, part.position, moved)
            if basis.layer == layer and layer in self._skips:
                read = self._inputs[basis.read][0].float()
                there = self.reading.encoded[:, None]
                passed = passed + there * ((read - read.detach()) @ self._skips[layer].T)
        return x.detach() + passed.to(x.dtype)

    def _of(self, number: int) -> tuple:  # type: ignore[type-arg]
        return self.reading.bases[number], self.reading.active[number], self._sources[number]

    def close(self) -> None:
        """Lets go of the graph (see `Rows.close`)."""
        self._gradients.close()
        for held in (self._inputs, self._sources, self._looks):
            held.clear()
        self._final = self._final.detach()

    def value(self, target: Linear | Score) -> Tensor:
        """The target, with its gradients."""
        if isinstance(target, Linear):
            return self._final[0, target.position].float() @ target.vector
        if not self._looks[target.layer]:
            raise ModelError(
                f"the attention of layer {target.layer} of {self.reading.model.name} compares no "
                "queries with keys alone",
                expected="attention by softmax of their products",
            )
        (one,) = self._looks[target.layer]
        query, key = one.query[target.head, target.query], one.key[target.head, target.key]
        return one.scale * (query.float() @ key.float())

    def back(self, goal: Tensor, take: Callable[[int, Tensor], None]) -> None:
        """Tells of each basis that the goal depends on activation times gradient, signed; the last
        first (see gradients.py)."""
        self._gradients.back(goal, lambda number, g: take(number, self._effect(number, g)))

    def _effect(self, number: int, gradient: Tensor) -> Tensor:
        basis, part = self.reading.bases[number], self.reading.active[number]
        value = self.values[number]
        if part is None:
            return value * gradient[0].float()
        if basis.kind == "transcoder":
            return value * gradient.float()
        rows = self.reading.decoders(number, part, basis.read)
        return value * (rows * gradient[0, part.position].float()).sum(-1)
