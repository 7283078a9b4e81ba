"""Supernodes: one feature that is active at several positions, folded for reading."""

from __future__ import annotations

from collections import defaultdict

from inscape.attribution.data import GraphData

Group = tuple[str, list[int]]


def same_feature(graph: GraphData) -> list[Group]:
    """(name, node numbers) for each kept feature that is active at two positions or more."""
    members: dict[tuple[int | None, int], list[int]] = defaultdict(list)
    for number, node in enumerate(graph.nodes):
        if node.kind == "feature" and graph.kept_nodes[number]:
            members[node.layer, node.feature].append(number)
    return [
        (graph.label(graph.nodes[found[0]]) or f"L{layer}/{feature}", found)
        for (layer, feature), found in members.items()
        if len(found) > 1
    ]
