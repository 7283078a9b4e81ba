"""Features of a graph grouped, named, and each name put to the test.

1. Kept features at one token are alike where their edges are: the cosine of what they take in and
   pass on, each edge by its share of its target's input, with its sign; features of one label are
   alike. They are grouped by average linkage, down to a cosine of one half.
2. A group has the label that most of its effect carries. Where it has none it is named by what it
   does: in the upper half of the layers by the tokens that its features' writing promotes, of the
   hundred likeliest there; else by the token of the prompt that most of its input comes from.
3. Every group is removed from the model as it is: predicted beside measured, beside it random
   groups; with another prompt it is exchanged and restored too (interventions.py). A name that
   says which tokens are promoted holds where these lose more than nine of ten of the hundred do
   without the group; one that says which token sets it off, where its features lose half of their
   activation when that token's embedding is the mean of the other tokens'. Labels have scores of
   their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from torch import Tensor

from inscape.attribution.data import Edges, Mask, Node, Supernode, is_head
from inscape.attribution.effects import Removal, Removals, activation, removals_of
from inscape.attribution.hints import likely, promoted
from inscape.attribution.influence import normalised
from inscape.attribution.interventions import Other, fewer, intervene
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import EMBED, Active, Reading, Sources, active_features
from inscape.core import LabelOf, quoted

ALIKE = 0.5
MOST, FEW = 24, 8  # groups that are tested, those with the largest effects; on long prompts
CONTROLS, FEW_CONTROLS = 3, 1  # random groups beside each


def supernodes(
    sources: Sources,
    nodes: Sequence[Node],
    edges: Edges,
    kept: Mask,
    targets: Sequence[Linear],
    names: LabelOf,
    other: Other | None = None,
) -> list[Supernode]:
    """The groups of a graph's kept features, the largest effect first (see the module). other: the
    other prompt."""
    by_token = _by_token(nodes, kept)
    shares = _shares(edges, [n for some in by_token.values() for n in some], len(nodes))
    groups = [
        group
        for some in by_token.values()
        for group in _linked(some, _similar(some, nodes, shares, names))
        if len(group) > 1
    ]
    groups.sort(key=lambda group: -abs(sum(nodes[n].effect or 0.0 for n in group)))
    groups = groups[: fewer(sources, MOST, FEW)]
    return _tested(sources, nodes, edges, groups, targets, names, other) if groups else []


def _by_token(nodes: Sequence[Node], kept: Mask) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for number, node in enumerate(nodes):
        if node.kind == "feature" and kept[number] and not is_head(node):
            found[node.position].append(number)
    return dict(found)


def _shares(edges: Edges, some: Sequence[int], num_nodes: int) -> tuple[csr_array, csr_array]:
    """Of the edges into and out of some nodes the signed shares of their targets' inputs: [target,
    source] and [source, target]."""
    among = np.zeros(num_nodes, dtype=bool)
    among[list(some)] = True
    chosen = among[edges.source] | among[edges.target]
    share = (normalised(edges, num_nodes) * np.sign(edges.weight))[chosen]
    ends, shape = (edges.target[chosen], edges.source[chosen]), (num_nodes, num_nodes)
    return csr_array((share, ends), shape), csr_array((share, ends[::-1]), shape)


def _similar(
    some: Sequence[int], nodes: Sequence[Node], shares: tuple[csr_array, csr_array], names: LabelOf
) -> npt.NDArray[np.float64]:
    """Cosine of each two profiles [n, n]."""
    into, out = shares
    cosine = 0.5 * (_cosine(into[some]) + _cosine(out[some]))
    labels = [names(nodes[n].dictionary or "", nodes[n].feature) for n in some]
    for a, one in enumerate(labels):
        for b, two in enumerate(labels):
            if one is not None and one == two and "tokens: " not in one:
                cosine[a, b] = max(cosine[a, b], 1.0)
    return cosine


def _cosine(rows: csr_array) -> npt.NDArray[np.float64]:
    size = np.sqrt(rows.multiply(rows).sum(1))
    products = (rows @ rows.T).toarray()
    known = np.where(size > 0, size, 1.0)
    return np.asarray(products / np.outer(known, known))


def _linked(some: Sequence[int], cosine: npt.NDArray[np.float64]) -> list[list[int]]:
    """Groups by average linkage."""
    if len(some) < 2:
        return [list(some)]
    distance = np.clip(1.0 - cosine, 0.0, None)
    apart = distance[np.triu_indices(len(some), 1)]
    numbers = fcluster(linkage(apart, "average"), 1.0 - ALIKE, "distance")
    groups: dict[int, list[int]] = defaultdict(list)
    for number, node in zip(numbers.tolist(), some, strict=True):
        groups[number].append(node)
    return list(groups.values())


def _tested(
    sources: Sources,
    nodes: Sequence[Node],
    edges: Edges,
    groups: Sequence[Sequence[int]],
    targets: Sequence[Linear],
    names: LabelOf,
    other: Other | None,
) -> list[Supernode]:
    every = removals_of(sources)
    measured = intervene(
        sources,
        targets,
        [[every[n] for n in group] for group in groups],
        "groups",
        controls=fewer(sources, CONTROLS, FEW_CONTROLS),
        other=other,
        measure=_lost_and_final,
    )
    found = []
    silenced = _Silenced(sources.reading)
    for number, group in enumerate(groups):
        first = Supernode(
            name="",
            nodes=tuple(group),
            effect=sum(nodes[n].effect or 0.0 for n in group),
            **measured.tests(number),
        )
        final = measured.removed[number, 0, 1:]
        found.append(_named(first, sources, nodes, edges, every, final, silenced, names))
    return found


def _lost_and_final(removals: Removals, sets: Sequence[Sequence[Removal]], what: str) -> Tensor:
    """What the targets lose without each set, then the final norm's output at its token [set, 1 +
    d_model]."""
    final = removals.finals(sets, what)
    at = [some[0].position if some else 0 for some in sets]
    lost = final.new_tensor([removals.loss(one) for one in final])
    return torch.cat([lost[:, None], final[range(len(sets)), at]], 1)


def _named(
    one: Supernode,
    sources: Sources,
    nodes: Sequence[Node],
    edges: Edges,
    every: Sequence[Removal],
    final: Tensor,
    silenced: _Silenced,
    names: LabelOf,
) -> Supernode:
    reading, first = sources.reading, nodes[one.nodes[0]]
    weight: dict[str, float] = defaultdict(float)
    for n in one.nodes:
        label = names(nodes[n].dictionary or "", nodes[n].feature)
        if label and "tokens: " not in label:
            weight[label] += abs(nodes[n].effect or 0.0)
    where = f"at {quoted(first.token)}"
    if weight:
        return replace(one, name=f"{max(weight, key=weight.__getitem__)} {where}", by="label")
    model = reading.model
    layers = [nodes[n].layer or 0 for n in one.nodes]
    if min(layers) >= model.num_layers // 2:
        tokens, among = _promoted(reading, [every[n] for n in one.nodes], first.position)
        said = ", ".join(quoted(model.token_text(t)) for t in tokens)
        holds = _fall(reading, final, first.position, tokens, among)
        return replace(one, name=f"promotes {said} {where}", by="promoted tokens", holds=holds)
    origin = _origin(one.nodes, nodes, edges)
    if origin is None:
        return replace(one, name=f"{len(one.nodes)} features {where}", by="")
    name = f"set off by {quoted(nodes[origin].token)}"
    if nodes[origin].position != first.position:
        name += f" {where}"
    holds = silenced([every[n] for n in one.nodes], nodes[origin].position)
    return replace(one, name=name, by="the token that sets it off", holds=holds)


def _promoted(
    reading: Reading, members: Sequence[Removal], position: int
) -> tuple[list[int], Tensor]:
    """Of the likeliest tokens there those that the members' writing raises most; and the likely."""
    total = torch.zeros_like(reading.final[0])
    for one in members:
        basis = reading.bases[one.basis]
        feature = torch.tensor([one.feature], device=total.device)
        total += one.value * basis.decoders(feature, basis.writes[-1])[0]
    tokens = likely(reading, position)
    return promoted(reading, total[None], tokens)[0], tokens


def _fall(
    reading: Reading, final: Tensor, position: int, tokens: Sequence[int], among: Tensor
) -> bool:
    """Whether tokens lose more than nine of ten of the likely ones when the group is gone."""
    model = reading.model
    change = (model.unembed(reading.final[position]) - model.unembed(final)).float()
    return float(change[list(tokens)].mean()) >= float(change[among].quantile(0.9))


def _origin(members: Sequence[int], nodes: Sequence[Node], edges: Edges) -> int | None:
    """The token of the prompt, but for what begins the text, that gives the group most."""
    into = np.isin(edges.target, members)
    given: dict[int, float] = defaultdict(float)
    for source, weight in zip(edges.source[into].tolist(), edges.weight[into], strict=True):
        if nodes[source].kind == "embedding" and nodes[source].position > 0:
            given[source] += float(weight)
    best = max(given, key=given.__getitem__, default=None)
    return best if best is not None and given[best] > 0 else None


class _Silenced:
    """Whether features lose half of their activation without a token's embedding."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._without: dict[int, tuple[dict[str, Tensor], list[Active | None]]] = {}

    def __call__(self, members: Sequence[Removal], position: int) -> bool:
        if position not in self._without:
            self._without = {position: self._read(position)}  # as large as all neurons
        inputs, active = self._without[position]
        after = sum(
            max(activation(one, inputs, active, self.reading.bases[one.basis].read), 0.0)
            for one in members
        )
        return after <= 0.5 * sum(one.value for one in members)

    @torch.no_grad()
    def _read(self, position: int) -> tuple[dict[str, Tensor], list[Active | None]]:
        reading = self.reading
        others = reading.encoded.clone()
        others[position] = False
        there = reading.embedding[others] if bool(others.any()) else reading.embedding
        mean = there.mean(0)

        def without(x: Tensor) -> Tensor:
            x = x.clone()
            x[:, position] = mean.to(x)
            return x

        sites = list(dict.fromkeys(basis.read for basis in reading.bases))
        run = reading.model.run(reading.prompt, read=sites, edits={EMBED: without})
        inputs = {site: run[site][0].float() for site in sites}
        return inputs, active_features(reading.bases, inputs, reading.encoded)
