"""The strongest edges between features, put to the test in the model as it is.

1. Predicted: what the target reads less of without the source, to first order: the source's
   activation times the gradient of what the target reads, attention patterns and norms moving.
2. Measured: the source is removed from the model as it is; beside it random features in its place,
   one at a time. With another prompt it is exchanged and restored too (interventions.py).
3. An edge holds where what is lost with the source removed has the predicted sign and is more than
   without any of the random ones. The edge itself is what goes from one to the other alone,
   attention and norms held: where other features pass something on too, what is measured is not
   the edge's weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from inscape.attribution.data import Edges, Link
from inscape.attribution.effects import FreePass, Removal, Removals, removals_of, written_by
from inscape.attribution.interventions import Other, fewer, intervene
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import Active, Reading, Sources

NUM_LINKS, CONTROLS, FEW = 10, 3, 1


def verify_links(
    sources: Sources,
    edges: Edges,
    targets: Sequence[Linear],
    other: Other | None = None,
    controls: int = CONTROLS,
    seed: int = 0,
) -> list[Link]:
    """Tests edges between features that are nodes (see the module). targets: of the graph; other:
    the other prompt."""
    chosen = list(zip(*(column.tolist() for column in vars(edges).values()), strict=True))
    if not chosen:
        return []
    every = removals_of(sources)
    first = list(dict.fromkeys(source for source, *_ in chosen))
    read = list(dict.fromkeys(target for _, target, _ in chosen))
    places = [_place(sources, target) for target in read]

    to = {} if other is None else other.places
    there = [(site, to.get(position, 0), row) for site, position, row in places]

    def read_less(removals: Removals, sets: Sequence[Sequence[Removal]], what: str) -> Tensor:
        here = removals.reading is sources.reading
        return removals.read_less(sets, places if here else there, what)

    lost = intervene(
        sources,
        targets,
        [[every[source]] for source in first],
        "sources of edges",
        controls=fewer(sources, controls, FEW),
        other=other,
        measure=read_less,
        seed=seed,
    )
    guess = _predicted(sources, chosen, dict(zip(read, places, strict=True)))
    found = []
    for (source, target, weight), predicted in zip(chosen, guess, strict=True):
        number = read.index(target)
        tests = lost.tests(first.index(source), number)
        most = max((abs(value) for value in tests["controls"]), default=0.0)
        holds = tests["measured"] * predicted > 0 and abs(tests["measured"]) > most
        gap = None
        if other is not None and places[number][1] in to:
            gap = _value(sources.reading, places[number]) - _value(other.reading, there[number])
        else:  # no other prompt, or the target has no counterpart there
            tests = {name: tests[name] for name in ("measured", "controls")}
        found.append(Link(source, target, weight, predicted, holds=holds, gap=gap, **tests))
    return found


def _value(reading: Reading, place: tuple[str, int, Tensor]) -> float:
    """What is read at a place of a prompt."""
    site, position, row = place
    return float(reading.inputs[site][position] @ row)


def _part(sources: Sources, node: int) -> tuple[int, Active]:
    """The basis of a feature that is a node, and the feature there."""
    number = next(n for n in range(len(sources.features)) if node < sources.starts[n + 1])
    features = sources.features[number]
    at = torch.tensor([node - sources.starts[number]], device=features.position.device)
    return number, features.take(at)


def _place(sources: Sources, node: int) -> tuple[str, int, Tensor]:
    """What a feature that is a node reads: site, position, and vector [width]."""
    number, part = _part(sources, node)
    row = sources.reading.encoders(number, part)[0]
    return sources.reading.bases[number].read, int(part.position), row


def _predicted(
    sources: Sources,
    edges: Sequence[tuple[int, int, float]],
    places: dict[int, tuple[str, int, Tensor]],
) -> list[float]:
    free, sites = None, {site for site, *_ in places.values()}
    found = [0.0] * len(edges)
    for target, (site, position, row) in places.items():
        wanted = [n for n, edge in enumerate(edges) if edge[1] == target]
        if free is None or sources.reading.grad == "recompute":  # as in edges.py
            if free is not None:
                free.close()
            free = FreePass(sources.reading, sites)

        def take(
            at: str, gradient: Tensor, wanted: Sequence[int] = wanted, free: FreePass = free
        ) -> None:
            for n in wanted:
                basis, part = _part(sources, edges[n][0])
                if at in written_by(sources.reading.bases[basis]):
                    found[n] += float(free.effects(basis, part, at, gradient))

        free.back(free.at(site)[0, position].float() @ row, take)
    if free is not None:
        free.close()
    return found
