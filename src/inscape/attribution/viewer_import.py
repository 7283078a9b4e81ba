"""A graph file of the published viewer as a graph: of circuit-tracer, Neuronpedia, or inscape.

1. The file is checked against the schema (viewer_schema.py).
2. Each node gets the kind that its feature_type stands for. Nodes of types that have no place here
   (biases) are left out with their links, and so is how queries and keys are explained; the notes
   say so. What inscape wrote is read as it was.
3. Features are put in an order in which every link leads forward, as paths need it.
4. Where the file is not inscape's, influence and scores are computed from its links.
5. A label is a clerp that is no bare number. Supernodes, pins and labels are those that somebody
   saved in the viewer last.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import numpy as np

from inscape.attribution import influence as flow
from inscape.attribution.data import Edges, GraphData
from inscape.attribution.viewer import OWN, WRITTEN, by_hand, digest, same_feature, unpair
from inscape.attribution.viewer_schema import Link, ViewerGraph, ViewerNode, check_graph
from inscape.core import DataError, LabelOf, short, with_signs

G = TypeVar("G", bound=GraphData)
Row = dict[str, Any]
_KINDS = {
    "cross layer transcoder": "feature",
    "unexplored node": "feature",
    "lorsa": "feature",
    "mlp reconstruction error": "error",
    "lorsa error": "error",
    "unknown": "rest",
    "embedding": "embedding",
    "logit": "logit",
}
_ID = re.compile(r"(?:E|\d+)_(cro_|lor_)?(-?\d+)_\d+")
_LOGIT = re.compile(r"""["'](.*)["'].*\(p=([0-9.e-]+)\)""", re.DOTALL)


def from_viewer(kind: type[G], data: Any, what: str = "the graph file") -> G:
    """The graph, of a `kind`, that a file holds.

    Args:
        what: the file, as an error names it.

    Raises:
        DataError: it is no such graph, a newer inscape wrote it, or its links form a circle.
    """
    view = check_graph(data, what)
    given = getattr(view.metadata, OWN, None)
    own = GraphData.content(given) if isinstance(given, dict) else {}
    written = own.pop(WRITTEN, None)
    tested = {tuple(one["nodes"]): one for one in own.pop("groups", [])}
    rows = {n: row for n, entry in enumerate(view.nodes) if (row := _row(entry, view)) is not None}
    order = _forward(view, rows, what)
    place = {entry: new for new, entry in enumerate(order)}
    number = {view.nodes[entry].node_id: place[entry] for entry in sorted(rows)}  # the last counts
    nodes = [rows[entry] for entry in order]
    edges = [
        (number[link.source], number[link.target], link.weight)
        for link in _links(view, {id: nodes[n]["kind"] for id, n in number.items()})
    ]
    state, unknown = _state(view, _by_any_id(view, number), tested, what)
    content = {
        "schema": GraphData.SCHEMA,
        "version": GraphData.VERSION,
        **(own or _measured(view, nodes, edges)),
        **state,
        "prompt": view.metadata.prompt,
        "prompt_tokens": view.metadata.prompt_tokens,
        "nodes": nodes,
        "edges": edges,
        **{
            kind: [
                {**one, "source": number[one["source"]], "target": number[one["target"]]}
                for one in own.get(kind, [])
                if {one.get("source"), one.get("target")} <= number.keys()
            ]
            for kind in ("routes", "links")
        },
    }
    made = kind.from_json(content)
    left = _left_out(view, rows, len(edges), unknown)
    names = _names(view, rows, what)
    changed = written is not None and written != digest(data)
    changed |= not own and by_hand(made)
    made = replace(made, names=names, notes=[*made.notes, *left], edited=changed)
    if own and made.supernodes == same_feature(made):
        made.supernodes = []  # as they are shown where nobody has grouped anything
    return made


def _row(entry: ViewerNode, view: ViewerGraph) -> Row | None:
    """A node as JSON; None for a type that has no place."""
    own = getattr(entry, OWN, None)
    if isinstance(own, dict):
        return own
    kind = _KINDS.get(entry.feature_type)
    if kind is None:
        return None
    layer = int(entry.layer) if str(entry.layer).isdecimal() else 0
    row = {
        "kind": kind,
        "layer": None if kind in ("embedding", "logit") else layer,
        "position": entry.ctx_idx,
        "feature": _feature(entry, kind, view),
        "activation": entry.activation,
        "token": view.metadata.prompt_tokens[entry.ctx_idx],
        "rank": 1.0 if entry.influence is None else entry.influence,
    }
    if kind == "feature":
        row["dictionary"] = _dictionary(entry, layer, view)
    if kind == "logit":
        found = _LOGIT.search(entry.clerp)
        said = float(found[2]) if found else 0.0
        row["token"] = found[1] if found else entry.clerp
        row["probability"] = said if entry.token_prob is None else entry.token_prob
    return row


def _feature(entry: ViewerNode, kind: str, view: ViewerGraph) -> int:
    """A feature's number in its dictionary, or the id of a token."""
    if kind in ("error", "rest"):
        return -1
    found = _ID.fullmatch(entry.node_id)
    if found is not None and kind != "logit":
        return int(found[2])
    if entry.feature is None or kind == "embedding":  # there it is the position
        return -1
    paired = kind == "feature" and view.metadata.schema_version and entry.feature >= 0
    return unpair(entry.feature)[1] if paired else entry.feature


def _dictionary(entry: ViewerNode, layer: int, view: ViewerGraph) -> str:
    """The name of a feature's dictionary: as on Neuronpedia, else as in the list, else its site."""
    attention = entry.feature_type == "lorsa"
    details = view.metadata.feature_details or {}
    source = details.get("neuronpedia_source_set")
    if attention:
        source = details.get("neuronpedia_lorsa_source_set") or source
    if isinstance(source, str) and source:
        return f"{layer}-{source}"
    listed = view.metadata.transcoder_list
    if layer < len(listed) and not attention:
        return listed[layer]
    return f"{'attn' if attention else 'mlp'}.{layer}"


def _forward(view: ViewerGraph, rows: Mapping[int, Row], what: str) -> list[int]:
    """The places of the nodes in the file, with features in an order in which links lead forward;
    as they stand where they do so already.

    Raises:
        DataError: links form a circle.
    """
    features = [n for n, row in rows.items() if row.get("kind") == "feature"]
    last = {view.nodes[n].node_id: n for n in features}
    after: dict[int, list[int]] = defaultdict(list)
    waiting: Counter[int] = Counter()
    for link in view.links:
        if link.source in last and link.target in last:
            after[last[link.source]].append(last[link.target])
            waiting[last[link.target]] += 1
    ready = [n for n in features if not waiting[n]]
    found = []
    while ready:
        found.append(heapq.heappop(ready))
        for target in after[found[-1]]:
            waiting[target] -= 1
            if not waiting[target]:
                heapq.heappush(ready, target)
    if len(found) < len(features):
        within = view.nodes[next(n for n in features if waiting[n])].node_id
        raise DataError(
            f"{what} has links in a circle, through node {within}",
            expected="an attribution graph, whose links lead from earlier nodes to later ones",
        )
    slots, taken = set(features), iter(found)
    return [next(taken) if n in slots else n for n in rows]


def _links(view: ViewerGraph, kinds: Mapping[str, str]) -> list[Link]:
    """The links between nodes that are there, into those that have inputs."""
    return [
        link
        for link in view.links
        if kinds.get(link.source, "logit") != "logit"
        and kinds.get(link.target) in ("feature", "logit")
    ]


def _by_any_id(view: ViewerGraph, number: Mapping[str, int]) -> dict[str, int]:
    """Node numbers by node_id, and by jsNodeId, by which older files call what is pinned."""
    others = {
        entry.jsNodeId: number[entry.node_id] for entry in view.nodes if entry.node_id in number
    }
    return {**others, **number}


def _state(
    view: ViewerGraph, number: Mapping[str, int], tested: Mapping[tuple[str, ...], Row], what: str
) -> tuple[Row, int]:
    """Pins and supernodes, and how many of their ids name no node. tested: what inscape says of
    groups, by the ids of their nodes."""
    pinned = view.qParams.pinnedIds or []
    ids = pinned.split(",") if isinstance(pinned, str) else pinned
    groups = [[str(part) for part in group] for group in _listed(view, "supernodes", what)]
    named = [*ids, *(id for group in groups for id in group[1:])]
    found = [
        {
            **tested.get(tuple(sorted(group[1:])), {}),
            "name": group[0],
            "nodes": [number[id] for id in group[1:] if id in number],
        }
        for group in groups
        if group
    ]
    state = {
        "pins": [number[id] for id in dict.fromkeys(ids) if id in number],
        "supernodes": [group for group in found if group["nodes"]],
    }
    return state, sum(id not in number for id in named if id)


def _listed(view: ViewerGraph, name: str, what: str) -> list[list[Any]]:
    """A field of qParams that is a list of lists, or such a list as JSON, as the page saves it."""
    value = getattr(view.qParams, name)
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except ValueError:
            value = None
        if not isinstance(value, list) or not all(isinstance(part, list) for part in value):
            raise DataError(
                f"{what} has qParams.{name} = {short(getattr(view.qParams, name))}",
                expected="a list of lists, or such a list as JSON",
            )
    return value or []


def _names(view: ViewerGraph, rows: Mapping[int, Row], what: str) -> LabelOf:
    """The labels of features, by dictionary and number."""
    saved = {str(one[0]): str(one[1]) for one in _listed(view, "clerps", what) if len(one) == 2}
    found: dict[tuple[str, int], str] = {}
    for n, row in rows.items():
        entry, key = view.nodes[n], (row.get("dictionary"), row.get("feature"))
        label = saved.get(str(entry.feature)) or saved.get(entry.node_id) or entry.clerp
        bare = ("", f"F{entry.feature}", f"{key[0]}/{key[1]}")
        if row.get("kind") == "feature" and label not in bare:
            found.setdefault(key, _printable(label))  # type: ignore[arg-type]
    return lambda dictionary, feature: found.get((dictionary, feature))


def _printable(label: str) -> str:
    """A label of another's file as a terminal may be given it."""
    return "".join(c if c.isprintable() else "�" for c in with_signs(label))


def _measured(
    view: ViewerGraph, nodes: Sequence[Row], edges: Sequence[tuple[int, int, float]]
) -> Row:
    """What a graph of another tool does not say; nodes get their influence."""
    columns = np.array(edges, np.float64).reshape(-1, 3).T
    links = Edges(
        columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2].astype(np.float32)
    )
    start = np.array([row.get("probability") or 0.0 for row in nodes])
    kinds = np.array([row["kind"] for row in nodes])
    if not start.sum():
        start = (kinds == "logit").astype(np.float64)
    start = start / max(start.sum(), 1e-30)
    size = flow.influence(links, start)
    for row, part in zip(nodes, size / max(size.sum(), 1e-30), strict=True):
        row["influence"] = float(part)
    scores = asdict(flow.scores(links, start, kinds == "error", kinds == "embedding"))
    metadata = view.metadata
    pruning = metadata.pruning_settings or {}
    shares = {"node_share": "node_threshold", "edge_share": "edge_threshold"}
    tokens = {row["position"]: row["feature"] for row in nodes if row["kind"] == "embedding"}
    maker = ((metadata.info or {}).get("generator") or {}).get("name") or "another tool"
    return {
        "model": metadata.scan,
        "token_ids": [tokens.get(n, -1) for n in range(len(metadata.prompt_tokens))],
        "num_layers": _num_layers(view, nodes),
        "scores": scores,
        "kept_scores": scores,
        "dictionaries": sorted({row["dictionary"] for row in nodes if row.get("dictionary")}),
        "settings": {
            **(metadata.generation_settings or {}),
            **{ours: pruning[theirs] for ours, theirs in shares.items() if theirs in pruning},
        },
        "notes": [f"made by {maker}; influence and scores are of the links in its file"],
        "num_nodes_full": len(nodes),
        "num_edges_full": len(edges),
    }


def _num_layers(view: ViewerGraph, nodes: Sequence[Row]) -> int:
    """The layers of the model, as far as they can be known: logits are drawn one or two above."""
    least = 1 + max((row["layer"] or 0 for row in nodes), default=0)
    logits = [
        int(n.layer) for n in view.nodes if n.feature_type == "logit" and str(n.layer).isdecimal()
    ]
    words = any("lor" in entry.feature_type or "_cro_" in entry.node_id for entry in view.nodes)
    return max([least, *(layer - (not words) for layer in logits)])


def _left_out(
    view: ViewerGraph, rows: Mapping[int, Row], num_edges: int, unknown: int
) -> list[str]:
    """What of the file has no place in the graph, as one remark."""
    types = Counter(e.feature_type for n, e in enumerate(view.nodes) if n not in rows)
    explained = sum(getattr(e, "qk_tracing_results", None) is not None for e in view.nodes)
    aside = getattr(view, "qk_only_nodes", None) or {}
    ids = Counter(view.nodes[n].node_id for n in rows)
    counts = {
        **{f"nodes of type {name}": count for name, count in types.items()},
        "links at nodes that are not there, or that take none": len(view.links) - num_edges,
        "how queries and keys are explained": explained,
        "nodes that explain these alone": len(aside),
        "ids in pinnedIds or supernodes that name no node": unknown,
    }
    said = [f"{name} ({count})" for name, count in counts.items() if count]
    notes = [f"left out of the file: {', '.join(said)}"] if said else []
    twice = [id for id, count in ids.items() if count > 1]
    if twice:
        more = f" and {len(twice) - 3} more" * (len(twice) > 3)
        notes.append(
            f"ids that stand for several nodes: {', '.join(twice[:3])}{more}; as in the viewer, "
            "their links are those of the last"
        )
    return notes
