"""Supernodes: kept feature nodes that say the same thing, grouped for reading.

`same_feature`: one feature at several positions. `same_label`: features of one layer with one
label, at any position. Groups change no figure; they only fold the picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable

from inscape.attribution.graph import Graph, Node

Group = tuple[str, list[int]]


def same_feature(graph: Graph) -> list[Group]:
    """(name, node numbers) for each kept feature that is active at two positions or more."""
    return _grouped(
        graph,
        lambda node: (node.layer, node.feature),
        lambda node: node.label or f"L{node.layer}/{node.feature}",
    )


def same_label(graph: Graph) -> list[Group]:
    """(name, node numbers) for kept features of one layer that share a label."""
    return _grouped(
        graph,
        lambda node: (node.layer, node.label) if node.label else None,
        lambda node: f"{node.label} (L{node.layer})",
    )


def _grouped(
    graph: Graph, key: Callable[[Node], Hashable | None], name: Callable[[Node], str]
) -> list[Group]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, node in enumerate(graph.nodes):
        if node.kind == "feature" and graph.kept_nodes[number]:
            chosen = key(node)
            if chosen is not None:
                members[chosen].append(number)
    return [(name(graph.nodes[m[0]]), m) for m in members.values() if len(m) > 1]
