"""The published viewer's graph format: {metadata, qParams, nodes, links}.

Facts that the viewer relies on: a logit's clerp holds "(p=0.123)"; `influence` is a cumulative
rank fraction (low is important); at least one node that is no logit has a layer above 0; slug and
scan match [A-Za-z0-9_.-]; a link's weight is the raw signed direct effect.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

from inscape.attribution.data import GraphData, Node

CREATOR = "inscape"
MARK = r'"generator":\s*\{\s*"name":\s*"inscape"'
"""What tells a graph that inscape wrote, and may replace, from any other file."""


def to_viewer(graph: GraphData) -> dict[str, Any]:
    """The kept part of a graph in the viewer's format; its slug (the name in its address) is made
    from the prompt, its scan from the model's name."""
    part = _with_upper_node(graph)
    ids = [node_id(node, part.num_layers) for node in part.nodes]
    supernodes = [[label, *(ids[i] for i in members)] for label, members in same_feature(part)]
    return {
        "metadata": {
            "slug": plain_name(graph.prompt[:60], "graph"),
            "scan": plain_name(graph.model, "model"),
            "prompt": graph.prompt,
            "prompt_tokens": list(graph.prompt_tokens),
            "transcoder_list": list(graph.dictionaries),
            "node_threshold": float(graph.settings.get("node_share", 1.0)),
            "schema_version": 1,
            "info": {
                "description": "; ".join(graph.notes),
                "creator_name": CREATOR,
                "generator": {"name": CREATOR},
            },
            "generation_settings": {
                key: value for key, value in graph.settings.items() if not key.endswith("_share")
            },
            "pruning_settings": {
                "node_threshold": graph.settings.get("node_share"),
                "edge_threshold": graph.settings.get("edge_share"),
            },
        },
        "qParams": {
            "pinnedIds": [],
            "supernodes": supernodes,
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": [_node(node, part) for node in part.nodes],
        "links": [
            {"source": ids[s], "target": ids[t], "weight": float(w)}
            for s, t, w in zip(part.edges.source, part.edges.target, part.edges.weight, strict=True)
        ],
    }


def same_feature(graph: GraphData) -> list[tuple[str, list[int]]]:
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


def plain_name(text: str, otherwise: str) -> str:
    """The text in the characters that the viewer takes in a slug or scan; texts of other scripts
    are distinguished by a hash."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or otherwise
    if text.isascii():
        return name
    return f"{name}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def node_id(node: Node, num_layers: int) -> str:
    """The viewer's id: `L_F_P`, `L_-1_P`, `E_tok_P`, or `(num_layers+1)_tok_P`."""
    if node.kind == "embedding":
        return f"E_{node.feature}_{node.position}"
    if node.kind == "logit":
        return f"{num_layers + 1}_{node.feature}_{node.position}"
    return f"{node.layer}_{node.feature}_{node.position}"


def _with_upper_node(graph: GraphData) -> GraphData:
    """The pruned graph; where it has no node above layer 0, the best one is added."""
    part = graph.pruned()
    if any(_is_upper(node) for node in part.nodes) or graph.is_pruned:
        return part
    upper = [i for i, node in enumerate(graph.nodes) if _is_upper(node)]
    if not upper:
        return part
    best = max(upper, key=lambda i: graph.nodes[i].influence)
    kept = graph.kept_nodes.copy()
    kept[best] = True
    ends = graph.edges.source, graph.edges.target
    added = ((ends[0] == best) | (ends[1] == best)) & kept[ends[0]] & kept[ends[1]]
    return replace(graph, kept_nodes=kept, kept_edges=graph.kept_edges | added).pruned()


def _is_upper(node: Node) -> bool:
    return node.kind in ("feature", "error") and bool(node.layer)


def _node(node: Node, graph: GraphData) -> dict[str, Any]:
    layer = {"embedding": "E", "logit": str(graph.num_layers + 1)}.get(node.kind, str(node.layer))
    rest: dict[str, Any]
    if node.kind == "feature":
        below = node.feature + int(node.layer or 0)
        rest = {
            "feature": below * (below + 1) // 2 + node.feature,
            "feature_type": "cross layer transcoder",
            "jsNodeId": f"{layer}_{node.feature}-0",
            "clerp": graph.label(node) or "",
            "influence": float(node.rank),
            "activation": float(node.activation),
        }
    elif node.kind == "error":
        rest = {
            "feature": -1,
            "feature_type": "mlp reconstruction error",
            "jsNodeId": f"{layer}_{node.position}-0",
            "clerp": f"Err: mlp {node.token!r}",
            "influence": float(node.rank),
        }
    elif node.kind == "embedding":
        rest = {
            "feature": node.position,
            "feature_type": "embedding",
            "jsNodeId": f"E_{node.feature}-{node.position}",
            "clerp": f'Emb: "{node.token}"',
        }
    else:
        against = "" if node.against_token is None else f' - "{node.against_token}"'
        rest = {
            "feature": node.feature,
            "feature_type": "logit",
            "jsNodeId": f"{layer}_{node.feature}-{node.position}",
            "clerp": f'Output "{node.token}"{against} (p={node.probability or 0.0:.3f})',
        }
    return {
        "node_id": node_id(node, graph.num_layers),
        "layer": layer,
        "ctx_idx": node.position,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "token_prob": 0.0 if node.probability is None else float(node.probability),
        "is_target_logit": node.kind == "logit",
        **rest,
    }
