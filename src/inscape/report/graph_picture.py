"""From an attribution graph to the part of it that can be drawn.

1. Nodes: the targets, what is pinned, and the kept nodes with the most influence, at most
   `max_nodes` in all.
2. Edges among them, by their share of the target's input times the target's influence: for each
   node the strongest edge out and the strongest edge in, then the strongest of all up to
   `max_edges`.
3. Nodes that no drawn edge touches are left out, but for targets and what is pinned.

Names come first, ids second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from inscape.attribution import Graph, Node, NodeKind, paths
from inscape.attribution.data import address, feature_name
from inscape.attribution.verify import beside_other, described, links_described, random_ones
from inscape.core import LabelOf, no_label
from inscape.report.numbers import finite
from inscape.report.parts import visible, visible_target

MAX_GROUPS = 8


@dataclass(frozen=True)
class PictureNode:
    """A box of a drawn graph. `layer` is None for tokens and targets; `detail` is what the node is
    in full, such as mlp.2/123; `role` is whose message its token is of, in a chat."""

    kind: NodeKind
    layer: int | None
    position: int
    name: str
    detail: str = ""
    activation: float | None = None
    influence: float | None = None
    probability: float | None = None
    role: str | None = None


@dataclass(frozen=True)
class PictureEdge:
    """A direct contribution, with its sign; `source` and `target` are places in `nodes`.

    share: its fraction of all that enters the target, signs dropped.
    """

    source: int
    target: int
    weight: float
    share: float | None = None


@dataclass(frozen=True)
class PicturePath:
    """A path from a token to the target: names of its nodes, and the weights between them.

    strength: product of the shares of input along it; negative where it lowers the target.
    """

    nodes: tuple[str, ...]
    weights: tuple[float, ...]
    strength: float


@dataclass(frozen=True)
class GraphPicture:
    """The strongest part of an attribution graph, small enough to be drawn and read.

    Raises ValueError where an edge or a position lies outside it.
    """

    prompt: str
    prompt_tokens: tuple[str, ...]
    target: str
    num_layers: int
    nodes: tuple[PictureNode, ...]
    edges: tuple[PictureEdge, ...]
    paths: tuple[PicturePath, ...] = ()
    replacement: float | None = None
    completeness: float | None = None
    unknown: float | None = None
    num_nodes: int | None = None
    num_edges: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ends = [end for edge in self.edges for end in (edge.source, edge.target)]
        if ends and not 0 <= min(ends) <= max(ends) < len(self.nodes):
            raise ValueError("an edge leaves the picture")
        if any(not 0 <= node.position < len(self.prompt_tokens) for node in self.nodes):
            raise ValueError("a node is outside the prompt")


def picture(
    graph: Graph,
    names: LabelOf = no_label,
    *,
    max_nodes: int = 36,
    max_edges: int = 64,
    num_paths: int = 8,
) -> GraphPicture:
    """The strongest part of a graph as plain data.

    names: labels of features, such as `Atlas.feature_label`; by default the graph's own.
    """
    graph = graph if names is no_label else replace(graph, names=names)
    drawn, edges = _strongest(graph, max_nodes, max_edges)
    place = {number: i for i, number in enumerate(drawn)}
    nodes = tuple(_node(graph, number) for number in drawn)
    found = paths(graph, num_paths=num_paths) if graph.targets else []
    return GraphPicture(
        prompt=graph.prompt,
        prompt_tokens=tuple(graph.prompt_tokens),
        target=", ".join(_name(graph, graph.nodes[t]) for t in graph.targets),
        num_layers=graph.num_layers,
        nodes=nodes,
        edges=tuple(PictureEdge(place[s], place[t], w, share) for s, t, w, share in edges),
        paths=tuple(
            PicturePath(
                nodes=tuple(_full_name(graph, graph.nodes[i]) for i in path.nodes),
                weights=path.weights,
                strength=path.sign * path.strength,
            )
            for path in found
        ),
        replacement=finite(graph.scores.replacement),
        completeness=finite(graph.scores.completeness),
        unknown=finite(graph.scores.unknown),
        num_nodes=graph.num_nodes_full or len(graph.nodes),
        num_edges=graph.num_edges_full or len(graph.edges),
        notes=(*_tested(graph), *_groups(graph), *_messages(graph.roles), *graph.notes),
    )


def _tested(graph: Graph) -> list[str]:
    """What was predicted beside what the model does."""
    if graph.verification is None:
        return []
    tested = described(graph.verification)
    tested += [links_described(graph.links)] if graph.links else []
    lines = (line.strip() for line in tested)
    return [f"{line[:1].upper()}{line[1:]}" + "." * (not line.endswith(":")) for line in lines]


def _groups(graph: Graph) -> list[str]:
    """What somebody has grouped; and the groups of alike features with the largest effects."""

    def members(nodes: Iterable[int]) -> str:
        return ", ".join(_full_name(graph, graph.nodes[n]) for n in nodes)

    made = [one for one in graph.supernodes if one.measured is None]
    found = [one for one in graph.supernodes if one.measured is not None][:MAX_GROUPS]
    tests = {None: "", True: "; the name holds", False: "; the name fails its test"}
    return [
        *(f"Group “{one.name}”: {members(one.nodes)}." for one in made),
        *(
            f"Group “{one.name}”, {len(one.nodes)} alike features: without them the answer loses "
            f"{one.effect or 0.0:+.2f} predicted, {one.measured:+.2f} measured{random_ones(one)}"
            f"{tests[one.holds]}.{_sentence(beside_other(one))}"
            for one in found
        ),
    ]


def _sentence(text: str) -> str:
    return f" {text[0].upper()}{text[1:]}." if text else ""


def _messages(roles: list[str | None]) -> list[str]:
    """Whose message stands at which tokens, where the prompt is a chat."""
    runs = [(role, list(run)) for role, run in groupby(range(len(roles)), roles.__getitem__)]
    said = [f"{role} {run[0]} to {run[-1]}" for role, run in runs if role is not None]
    return [f"Tokens of the messages: {', '.join(said)}."] if said else []


def _strongest(
    graph: Graph, max_nodes: int, max_edges: int
) -> tuple[list[int], list[tuple[int, int, float, float]]]:
    """Node numbers to draw, in the graph's order, and (source, target, weight, share of the
    target's input) among them."""
    targets, pinned = graph.targets, set(graph.pins)
    kept = [int(i) for i in np.flatnonzero(graph.kept_nodes) if int(i) not in targets]
    kept.sort(key=lambda i: (i not in pinned, -graph.nodes[i].influence))
    chosen = np.zeros(len(graph.nodes), dtype=bool)
    chosen[targets + kept[: max(0, max_nodes - len(targets))]] = True
    edges = graph.edges.select(
        graph.kept_edges & chosen[graph.edges.source] & chosen[graph.edges.target]
    )
    size = np.abs(edges.weight.astype(np.float64))
    total = np.bincount(graph.edges.target, np.abs(graph.edges.weight), len(graph.nodes))
    weight_of = np.array([_importance(node) for node in graph.nodes])
    share = size / np.maximum(total[edges.target], 1e-30)
    order = np.argsort(-share * weight_of[edges.target], kind="stable")
    columns = (edges.source, edges.target, edges.weight, share)
    lines = list(zip(*(column[order].tolist() for column in columns), strict=True))
    seen: set[tuple[str, int]] = set()
    first: list[int] = []
    rest: list[int] = []
    for rank, (source, target, *_) in enumerate(lines):
        ends = {("out", source), ("in", target)}
        (rest if ends <= seen else first).append(rank)
        seen |= ends
    taken = [lines[rank] for rank in sorted((first + rest)[:max_edges])]
    touched = {end for s, t, *_ in taken for end in (s, t)}
    always = set(targets) | {n for n in pinned if chosen[n]}
    return sorted(touched | always), taken


def _importance(node: Node) -> float:
    if node.kind != "logit":
        return node.influence
    return 1.0 if node.probability is None else node.probability


def _name(graph: Graph, node: Node) -> str:
    if node.kind == "logit":
        return " − ".join(graph.candidates(node))
    if node.kind == "embedding":
        return node.token
    if node.kind in ("error", "rest"):
        return "error" if node.kind == "error" else "other features"
    return graph.label(node) or feature_name(node)


def _full_name(graph: Graph, node: Node) -> str:
    place = f"{visible(node.token)} ({node.position})"
    if node.kind == "logit":
        return f"answer {visible_target(_name(graph, node))}"
    if node.kind == "embedding":
        return f"token {place}"
    if node.kind in ("error", "rest"):
        return f"{_name(graph, node)} of layer {node.layer} at {place}"
    text = graph.label(node)
    return f"{text} [{address(node)}] at {place}" if text else f"{feature_name(node)} at {place}"


def _node(graph: Graph, number: int) -> PictureNode:
    node = graph.nodes[number]
    return PictureNode(
        kind=node.kind,
        layer=node.layer,
        position=node.position,
        name=_name(graph, node),
        detail=address(node) if node.kind == "feature" else "",
        activation=finite(node.activation),
        influence=None if node.kind == "logit" else node.influence,
        probability=node.probability,
        role=graph.roles[node.position] if graph.roles else None,
    )
