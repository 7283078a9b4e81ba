"""A graph as text: the answer on top, then layer by layer down to the tokens.

1. Drawn are the pinned nodes and those with the most influence, at most `num_nodes`.
2. Under each stands what raises (+) and lowers (-) it most, with its share of all that enters it;
   what is drawn itself has a number by which it is found.
3. A name comes first; the id, by which steering takes a feature, stands at the end of the line.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from inscape.attribution.data import GraphData, Node, address, feature_name
from inscape.core import quoted

LEGEND = (
    "Under each node: what raises (+) and lowers (-) it most, and its share of all that enters. At "
    "the end of a line: the node's share of the influence on the answer, and its id."
)
NUM_TARGETS = 3  # of which inputs are listed
NUM_TOKEN_LINES = 4
HEAD = "tokens  "
INDENT = " " * 6
LEAST = 12  # characters of a name


def drawing(graph: GraphData, *, width: int = 100, num_nodes: int = 10, num_inputs: int = 4) -> str:
    """The strongest part of a graph in lines of at most `width` characters.

    num_inputs: of each node how much is listed that raises or lowers it.
    """
    drawn = _drawn(graph, num_nodes)
    mark = {number: f"[{place}]" for place, number in enumerate(drawn, 1)}
    into = _into(graph, [*graph.targets[:NUM_TARGETS], *drawn], num_inputs)
    lines = textwrap.wrap(LEGEND, width)
    for target in graph.targets[:NUM_TARGETS]:
        lines.append(_cut(f"answer  {_answer(graph, graph.nodes[target])}", width))
        lines += _inputs(graph, into.get(target, ()), mark, width)
    others = [_answer(graph, graph.nodes[target]) for target in graph.targets[NUM_TARGETS:]]
    if others:
        lines.append(_cut(f"also    {', '.join(others)}", width))
    layers = [graph.nodes[number].layer for number in drawn]
    for place, number in enumerate(drawn):
        if layers[place] not in layers[:place]:
            lines.append(f"layer {layers[place]}")
        lines.append(_entry(graph, graph.nodes[number], mark[number], width))
        lines += _inputs(graph, into[number], mark, width)
    return "\n".join([*lines, *_tokens(graph, width), *_chosen(graph, mark, width)])


def _drawn(graph: GraphData, num_nodes: int) -> list[int]:
    """Node numbers from the highest layer down, those of a layer by influence."""
    pinned, nodes = set(graph.pins), graph.nodes
    inner = [int(n) for n in np.flatnonzero(graph.kept_nodes) if _is_inner(nodes[int(n)])]
    inner.sort(key=lambda n: (n not in pinned, -nodes[n].influence))
    return sorted(inner[:num_nodes], key=lambda n: (-(nodes[n].layer or 0), -nodes[n].influence))


def _is_inner(node: Node) -> bool:
    return node.kind not in ("embedding", "logit")


def _into(graph: GraphData, targets: Sequence[int], num: int) -> dict[int, list[tuple[int, float]]]:
    """The strongest kept sources of each target, with their signed shares of its input."""
    share = graph.shares * np.sign(graph.edges.weight)
    found = {}
    for target in targets:
        own = np.flatnonzero((graph.edges.target == target) & graph.kept_edges)
        own = own[np.argsort(-np.abs(share[own]), kind="stable")][:num]
        found[target] = [(int(graph.edges.source[e]), float(share[e])) for e in own]
    return found


def _answer(graph: GraphData, node: Node) -> str:
    answers = " rather than ".join(map(quoted, graph.candidates(node)))
    single = node.against_token is None and node.probability is not None
    if not single or node.probability is None:
        return answers
    said = f"={node.probability:.3f}" if node.probability >= 0.0005 else "<0.001"
    return f"{answers} (p{said})"


def _name(graph: GraphData, node: Node) -> str:
    if node.kind == "embedding":
        return f"{quoted(node.token)}@{node.position}"
    if node.kind == "logit":
        return " rather than ".join(map(quoted, graph.candidates(node)))
    if node.kind == "error":
        return "error of its MLP"
    if node.kind == "rest":
        return "other features"
    return graph.label(node) or feature_name(node)


def _entry(graph: GraphData, node: Node, mark: str, width: int) -> str:
    """A node in one line: number, name, place; at the end share and id."""
    id = f"  {address(node)}" if node.kind == "feature" and graph.label(node) else ""
    end = f"  {100 * node.influence:.1f}%{id}"
    place = f" at {quoted(node.token)}@{node.position}"
    room = width - len(INDENT) - columns(place) - columns(end)
    line = f" {mark:<4} {_cut(_name(graph, node), max(LEAST, room))}{place}"
    return line + " " * max(0, width - columns(line) - columns(end)) + end


def _inputs(
    graph: GraphData, sources: Sequence[tuple[int, float]], mark: Mapping[int, str], width: int
) -> list[str]:
    """What raises and lowers a node, as many in a line as there is room for."""
    most = (width - len(INDENT) - 2) // 2
    lines: list[str] = []
    for number, share in sources:
        node = graph.nodes[number]
        name, place = _name(graph, node), mark.get(number, "")
        if not place and _is_inner(node) and name != feature_name(node):
            place = f"L{node.layer}"
        part = _cut(f"{100 * share:+.1f}% {place}{' ' * bool(place)}{name}", most)
        if lines and columns(lines[-1]) + 2 + columns(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(INDENT + part)
    return lines


def _tokens(graph: GraphData, width: int) -> list[str]:
    """The tokens of the prompt, of a long one the first and the last."""
    room = width - len(HEAD)
    lines = [""]
    for n, token in enumerate(graph.prompt_tokens):
        word = _cut(f"{quoted(token)}@{n}", room)
        if lines[-1] and columns(lines[-1]) + 1 + columns(word) > room:
            lines.append("")
        lines[-1] += f"{' ' * bool(lines[-1])}{word}"
    if len(lines) > NUM_TOKEN_LINES:
        lines = [lines[0], "...", *lines[2 - NUM_TOKEN_LINES :]]
    heads = [HEAD, *[" " * len(HEAD)] * len(lines)]
    return [head + line for head, line in zip(heads, lines, strict=False)]


def _chosen(graph: GraphData, mark: Mapping[int, str], width: int) -> list[str]:
    """What somebody has grouped and pinned."""
    named = [(f"group {quoted(one.name)}", one.nodes) for one in graph.supernodes]
    if graph.pins:
        named.append(("pinned", tuple(graph.pins)))
    lines = []
    for name, numbers in named:
        members = [f"{mark.get(n, '')} {_name(graph, graph.nodes[n])}".strip() for n in numbers]
        lines.append(_cut(f"{name}: {'; '.join(members)}", width))
    return lines


def columns(text: str) -> int:
    """How wide a text is on a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _cut(text: str, width: int) -> str:
    if columns(text) <= width:
        return text
    while text and columns(text) >= width:
        text = text[:-1]
    return f"{text.rstrip()}…"
