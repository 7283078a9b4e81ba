"""The published viewer's graph format: {metadata, qParams, nodes, links}.

Facts that the viewer relies on: a logit's clerp holds "(p=0.123)"; `influence` is a cumulative
rank fraction (low is important); at least one node that is no logit has a layer above 0; slug and
scan match [A-Za-z0-9_.-], or the scan is the path of the folder in which the local page finds the
files of features; a link's weight is the raw signed direct effect.

1. Ids are unique and of three numbers, `layer_feature_position`, as other tools read them.
2. Two dictionaries may stand at a layer: that of its MLP (a transcoder or neurons), and one of the
   residual stream. Features of the latter count as of a layer 1000 higher, in their ids and in the
   number, a pairing of layer and feature, that their files are called by; `layer`, where they are
   drawn, stays, and so does the feature's number on the page. metadata.inscape.layer_offsets says
   which dictionaries these are.
3. An error is feature -1 of its layer; what the features write that are no nodes is -2, of type
   `unknown`.
4. What has no place in the format stands as `inscape` in the metadata and in each node.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import inscape
from inscape.attribution.data import GraphData, Node, Supernode, feature_name
from inscape.core import quoted
from inscape.storage import plain

CREATOR = "inscape"
OWN = "inscape"
WRITTEN = "written"
MARK = r'"generator":\s*\{\s*"name":\s*"inscape"'
"""What tells a file that inscape wrote, and may replace, from any other."""
GENERATOR = {"name": CREATOR, "version": inscape.__version__}
STREAM_LAYERS = 1000
_PLACED = ("nodes", "edges", "supernodes", "pins", "prompt", "prompt_tokens")


def to_viewer(
    graph: GraphData, *, slug: str | None = None, scan: str | None = None
) -> dict[str, Any]:
    """The kept part of a graph in the viewer's format.

    Args:
        slug: its name in the viewer's address; made from the prompt by default.
        scan: where the files of its features lie; made from the model's name by default.
    """
    part = shown_part(graph)
    ids = node_ids(part)
    pairs = zip(part.edges.source, part.edges.target, part.edges.weight, strict=True)
    view: dict[str, Any] = {
        "metadata": {
            "slug": slug or plain_name(graph.prompt[:60], "graph"),
            "scan": scan or plain_name(graph.model, "model"),
            "prompt": graph.prompt,
            "prompt_tokens": list(graph.prompt_tokens),
            **_prefix(part),
            "transcoder_list": list(graph.dictionaries),
            "node_threshold": _threshold(part),
            "schema_version": 1,
            "info": {
                "description": "; ".join(graph.notes),
                "creator_name": CREATOR,
                "generator": dict(GENERATOR),
            },
            "generation_settings": {
                key: value for key, value in graph.settings.items() if not key.endswith("_share")
            },
            "pruning_settings": {
                "node_threshold": graph.settings.get("node_share"),
                "edge_threshold": graph.settings.get("edge_share"),
            },
            OWN: _own(part, ids),
        },
        "qParams": {
            "pinnedIds": [ids[n] for n in part.pins],
            "supernodes": [
                [one.name, *(ids[n] for n in one.nodes)]
                for one in part.supernodes or same_feature(part)
            ],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": [_node(node, part, id) for node, id in zip(part.nodes, ids, strict=True)],
        "links": [{"source": ids[s], "target": ids[t], "weight": float(w)} for s, t, w in pairs],
    }
    view["metadata"][OWN][WRITTEN] = "" if by_hand(graph) else digest(view)
    return view


def by_hand(graph: GraphData) -> bool:
    """Whether somebody has grouped, pinned or named something in a graph."""
    made = any(one.measured is None for one in graph.supernodes)
    return graph.edited or made or bool(graph.pins)


def digest(view: Mapping[str, Any]) -> str:
    """Of what people change in the viewer: groups, pins, labels."""
    text = json.dumps(view["qParams"], sort_keys=True)
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def same_feature(graph: GraphData) -> list[Supernode]:
    """A supernode for each kept feature that is active at two positions or more."""
    members: dict[tuple[str | None, int | None, int], list[int]] = defaultdict(list)
    for number, node in enumerate(graph.nodes):
        if node.kind == "feature" and graph.kept_nodes[number]:
            members[node.dictionary, node.layer, node.feature].append(number)
    return [
        Supernode(named(graph, graph.nodes[found[0]]), tuple(found))
        for found in members.values()
        if len(found) > 1
    ]


def named(graph: GraphData, node: Node) -> str:
    """A feature's label, or where it has none `dictionary/feature`."""
    return graph.label(node) or feature_name(node)


def plain_name(text: str, otherwise: str) -> str:
    """The text in the characters that the viewer takes in a slug or scan; texts of other scripts
    are distinguished by a hash."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-").lstrip(".") or otherwise
    if text.isascii():
        return name
    return f"{name}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def node_ids(graph: GraphData) -> list[str]:
    """The viewer's id of each node: `L_F_P`, `L_-1_P`, `L_-2_P`, `E_tok_P`,
    `(num_layers+1)_tok_P`."""
    seen: Counter[str] = Counter()
    found = []
    for node in graph.nodes:
        layer, feature = _key(node, graph)
        id = f"{layer}_{feature}_{node.position}"
        # Graphs of other tools may have more than one error at a layer and position.
        found.append(f"{id}-{seen[id]}" if seen[id] else id)
        seen[id] += 1
    return found


def feature_number(node: Node, graph: GraphData) -> int:
    """The number that a feature's file is called by: its layer and its own number, paired."""
    layer, feature = _key(node, graph)
    return pair(int(layer), feature)


def pair(layer: int, feature: int) -> int:
    """One number for two, as the viewer counts; `unpair` undoes it."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def unpair(number: int) -> tuple[int, int]:
    """Layer and feature of a number that `pair` gave."""
    total = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - total * (total + 1) // 2
    return total - feature, feature


def _key(node: Node, graph: GraphData) -> tuple[int | str, int]:
    """What stands for a node's layer and feature in its id."""
    layer = node.layer or 0
    if node.kind == "embedding":
        return "E", node.feature
    if node.kind == "logit":
        return graph.num_layers + 1, node.feature
    if node.kind == "feature":
        return layer + _offset(node.dictionary, graph), node.feature
    return layer, -1 if node.kind == "error" else -2


def _offset(dictionary: str | None, graph: GraphData) -> int:
    """What is added to the layer in the id of a feature of the stream, and twice in that of a
    head, so that no two features have one id."""
    if dictionary not in graph.checkpoints:
        return 0
    return STREAM_LAYERS * (2 if dictionary.startswith("attn_head.") else 1)


def shown_part(graph: GraphData) -> GraphData:
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


def _threshold(part: GraphData) -> float:
    """The rank up to which the local page shows nodes: of the last one, which crosses the share."""
    share = float(part.settings.get("node_share") or 0.0)
    always = ("embedding", "logit")
    ranks = [node.rank for node in part.nodes if node.kind not in always]
    return min(1.0, max([share, *ranks]))


def _prefix(part: GraphData) -> dict[str, str]:
    """What stands before the prompt in the viewer's list: the answer, where one was asked for."""
    if not part.settings.get("candidates") or not part.targets:
        return {}
    answers = part.candidates(part.nodes[part.targets[0]])
    return {"title_prefix": f"{' - '.join(map(quoted, answers))}:"}


def _own(part: GraphData, ids: list[str]) -> dict[str, Any]:
    """The graph as inscape saves it, less what stands elsewhere; routes and
    links name nodes by their ids."""
    own = {key: value for key, value in part.to_json().items() if key not in _PLACED}
    ends = ("source", "target")
    for kind in ("routes", "links"):
        own[kind] = [{**one, **{e: ids[one[e]] for e in ends}} for one in own[kind]]
    own["groups"] = [
        {**vars(one), "nodes": sorted(ids[n] for n in one.nodes)}
        for one in part.supernodes
        if one.effect is not None
    ]
    own["layer_offsets"] = {name: _offset(name, part) for name in part.checkpoints}
    return own


def _node(node: Node, graph: GraphData, id: str) -> dict[str, Any]:
    layer, feature = _key(node, graph)
    number, place = feature, node.position
    if node.kind == "feature":
        number, place = pair(int(layer), feature), 0  # the same at all positions
    elif node.kind == "embedding":
        number = node.position
    return {
        "node_id": id,
        "feature": number,
        "layer": str(layer if node.kind in ("embedding", "logit") else node.layer or 0),
        "ctx_idx": node.position,
        "feature_type": _TYPES[node.kind],
        "jsNodeId": f"{layer}_{feature}-{place}",
        "clerp": _clerp(node, graph),
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "token_prob": 0.0 if node.probability is None else float(node.probability),
        "is_target_logit": node.kind == "logit",
        "influence": None if node.kind == "logit" else float(node.rank),
        "activation": plain(float(node.activation)),
        OWN: plain(node),
    }


_TYPES = {
    "feature": "cross layer transcoder",
    "error": "mlp reconstruction error",
    "rest": "unknown",
    "embedding": "embedding",
    "logit": "logit",
}


def _clerp(node: Node, graph: GraphData) -> str:
    if node.kind == "feature":
        return named(graph, node)
    if node.kind == "error":
        return f"Err: mlp {node.token!r}"
    if node.kind == "rest":
        return f"Other features: mlp {node.token!r}"
    if node.kind == "embedding":
        return f'Emb: "{node.token}"'
    against = "" if node.against_token is None else f' - "{node.against_token}"'
    return f'Output "{node.token}"{against} (p={node.probability or 0.0:.3f})'
