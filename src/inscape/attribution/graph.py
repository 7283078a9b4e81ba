"""The attribution graph with its paths, its text and the viewer's form.

1. The strength of a path is the product of its edges' normalised |weights| (the fraction of the
   target's input that each edge carries); its sign is the product of the edges' signs.
2. The graph has no cycle: walking the nodes from the target downwards, each node keeps its
   `num_paths` strongest partial paths to the target (every source takes over its targets' lists).
3. Paths that end in a token (or an error) are returned, the strongest first.
"""

from __future__ import annotations

import heapq
import pathlib
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, Self

from inscape.attribution.data import GraphData, Node, NodeKind, Route, Supernode
from inscape.attribution.drawing import drawing
from inscape.attribution.verify import beside_other, described, links_described, random_ones
from inscape.attribution.viewer import to_viewer
from inscape.attribution.viewer_folder import IndexOf, not_indexed, write_viewer
from inscape.attribution.viewer_import import from_viewer
from inscape.storage import read_json

LARGELY = 0.5  # of influence that ends in what is no node


@dataclass(frozen=True)
class Path:
    """A path: node numbers from the source up to the target, raw edge weights, strength, sign."""

    nodes: tuple[int, ...]
    weights: tuple[float, ...]
    strength: float

    @property
    def sign(self) -> int:
        """+1 where the source pushes the target up along this path, -1 where down."""
        return -1 if sum(w < 0 for w in self.weights) % 2 else 1


def paths(
    graph: GraphData,
    *,
    target: int | None = None,
    num_paths: int = 8,
    ends: tuple[NodeKind, ...] = ("embedding",),
) -> list[Path]:
    """The strongest paths of the kept graph that lead from `ends` nodes to a target.

    target: a node number (default: the first logit).
    """
    goal = graph.targets[0] if target is None else target
    best: dict[int, list[Path]] = defaultdict(list)
    best[goal] = [Path((goal,), (), 1.0)]
    into = _edges_into(graph)
    # Targets, then features from the last to the first (they are numbered in the order in which
    # the model computes them), then what has no inputs.
    after = {"logit": 0, "feature": 1}
    order = sorted(range(len(graph.nodes)), key=lambda i: (after.get(graph.nodes[i].kind, 2), -i))
    for number in order:
        if not best[number]:
            continue
        best[number] = heapq.nlargest(num_paths, best[number], key=lambda p: p.strength)
        for source, weight, share in into.get(number, ()):
            best[source].extend(
                Path((source, *p.nodes), (weight, *p.weights), share * p.strength)
                for p in best[number]
            )
    found = [p for i, node in enumerate(graph.nodes) if node.kind in ends for p in best[i]]
    return heapq.nlargest(num_paths, found, key=lambda p: p.strength)


def _arrow(graph: GraphData, path: Path) -> str:
    text = graph.title(graph.nodes[path.nodes[0]])
    for weight, number in zip(path.weights, path.nodes[1:], strict=True):
        text += f" -({weight:+.2f})-> {graph.title(graph.nodes[number])}"
    return text


def _edges_into(graph: GraphData) -> dict[int, list[tuple[int, float, float]]]:
    edges, share = graph.edges.select(graph.kept_edges), graph.shares[graph.kept_edges]
    into: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
    for s, t, w, a in zip(edges.source, edges.target, edges.weight, share, strict=True):
        into[int(t)].append((int(s), float(w), float(a)))
    return into


def _effect(node: Node) -> str:
    measured = "" if node.measured is None else f"{node.measured:+.3f}"
    return f"{node.effect or 0.0:+7.3f} {measured:>7}"


def _indented(text: str) -> list[str]:
    return [f"{' ' * 19}{text}"] if text else []


class Graph(GraphData):
    """An attribution graph; see `GraphData` for what it holds."""

    def to_viewer(self) -> dict[str, Any]:
        """The kept part of the graph in the published viewer's format (see viewer.py)."""
        return to_viewer(self)

    @classmethod
    def from_viewer(cls, data: Any) -> Self:
        """The graph in the content of a published graph file (see viewer_import.py).

        Raises:
            DataError: it is no such graph.
        """
        return from_viewer(cls, data)

    @classmethod
    def open(cls, path: str | pathlib.Path) -> Self:
        """The graph in a file, one of inscape or of the published viewer.

        Raises:
            DataError, StorageError: the file is something else, or damaged.
        """
        data = read_json(pathlib.Path(path), given=True)
        if isinstance(data, dict) and "schema" in data:
            return cls.from_json(data)
        return from_viewer(cls, data, str(path))

    def write_viewer(
        self, folder: str | pathlib.Path, features: IndexOf = not_indexed
    ) -> pathlib.Path:
        """Writes a folder for the published viewer's local page, with the files of the features as
        `features` has them (see viewer_folder.py); returns the graph's file. An atlas knows the
        features of its dictionaries: `Atlas.write_viewer`."""
        return write_viewer(self, folder, features=features)

    def drawing(self, width: int = 100) -> str:
        """The strongest part as text: the answer, layer by layer what it rests on, the tokens."""
        return drawing(self, width=width)

    def _groups(self, num: int) -> list[str]:
        groups = [one for one in self.supernodes if one.measured is not None][:num]
        lines = ["groups of alike features (what is lost without each, predicted and measured; and"]
        lines[0] += " whether the name stands its test):"
        tests = {None: "", True: "; the name holds", False: "; the name FAILS its test"}
        for one in groups:
            lines.append(
                f"  {one.effect or 0.0:+7.3f} {one.measured or 0.0:+7.3f}  {one.name} "
                f"({self._place(one)}{random_ones(one)}{tests[one.holds]})"
            )
            lines += _indented(beside_other(one))
        return lines if groups else []

    def _place(self, one: Supernode) -> str:
        """How many features a group has, of which layers."""
        layers = sorted({self.nodes[n].layer or 0 for n in one.nodes})
        of = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
        return f"{len(one.nodes)} features of {of}"

    def _links(self) -> list[str]:
        lines = []
        for one in sorted(self.links, key=lambda one: one.holds):  # what fails comes first
            ends = (self.title(self.nodes[n]) for n in (one.source, one.target))
            lines.append(
                f"  {one.predicted:+7.2f} {one.measured:+7.2f}  {' -> '.join(ends)}"
                f" ({random_ones(one).removeprefix('; ')}{'' if one.holds else '; FAILS'})"
            )
            between = "" if one.gap is None else f"; it reads {one.gap:+.2f} more here than there"
            beside = beside_other(one)
            lines += _indented(beside + between if beside else "")
        return [links_described(self.links), *lines] if lines else []

    def _route(self, route: Route) -> str:
        heads = ", ".join(f"head {h} of layer {n} {weight:+.2f}" for n, h, weight in route.heads)
        direct = f"; directly {route.direct:+.2f}" if route.direct else ""
        ends = (self.title(self.nodes[n]) for n in (route.source, route.target))
        return f"{' -> '.join(ends)}: {heads}; other heads {route.rest:+.2f}{direct}"

    def summary(self, num_paths: int = 8) -> str:
        """Targets, scores, strongest kept features and strongest paths, as lines of text."""
        lines = [f"prompt: {self.prompt}", "targets:"]
        lines += [f"  {self.title(self.nodes[t])}" for t in self.targets]
        scores = {k: f"{k} {v:.2f}" for k, v in asdict(self.scores).items() if v or k != "unknown"}
        lines.append(
            f"graph: {int(self.kept_nodes.sum())} of {self.num_nodes_full} nodes, "
            f"{int(self.kept_edges.sum())} of {self.num_edges_full} edges kept; "
            f"{', '.join(scores.values())}"
        )
        if self.scores.unknown > LARGELY:
            lines.append("  (most of the influence ends in what is no node: the graph is a hint)")
        kept = [n for n, k in zip(self.nodes, self.kept_nodes, strict=True) if k]
        features = [n for n in kept if n.kind == "feature"]
        if any(n.effect is not None for n in features):
            several = "targets, weighted by probability," if len(self.targets) > 1 else "target"
            verb = "lose" if len(self.targets) > 1 else "loses"
            lines.append(f"strongest features (what the {several} {verb} without each, predicted")
            lines[-1] += " and measured):"
            largest = heapq.nlargest(num_paths, features, key=lambda n: abs(n.effect or 0.0))
            lines += [f"  {_effect(n)}  {self.title(n)}" for n in largest] or ["  none kept"]
        else:
            largest = heapq.nlargest(num_paths, features, key=lambda n: n.influence)
            lines.append("strongest features (fraction of influence):")
            lines += [f"  {n.influence:6.3f}  {self.title(n)}" for n in largest] or ["  none kept"]
        lines += [] if self.verification is None else described(self.verification)
        if self.verification and not self.verification.holds and len(self.targets) > 1:
            lines.append(
                "  (--target and --against compare two answers, which is predicted better)"
            )
        lines += self._groups(num_paths)
        lines.append("strongest paths (fraction of the target's input; raw edge weights):")
        found = paths(self, num_paths=num_paths)
        lines += [f"  {p.sign * p.strength:+7.4f}  {_arrow(self, p)}" for p in found] or [
            "  none kept"
        ]
        lines += self._links()
        if self.routes:
            lines.append("strongest edges through attention, by head:")
            lines += [f"  {self._route(one)}" for one in self.routes[:num_paths]]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)
