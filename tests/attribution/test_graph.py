"""The graph's JSON form, the viewer's format, paths and text."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.attribution.random_transcoders import random_transcoders
from tests.families import NUM_LAYERS, tiny, tiny_tokenizer

from inscape.attribution import Graph, paths, same_feature, trace
from inscape.attribution.influence import normalised
from inscape.core import DataError
from inscape.model import Model

FIXTURE = Path(__file__).parent / "graph-version-1.json"


@pytest.fixture(scope="module")
def graph() -> Graph:
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer, name="tiny/llama x")
    names = {("mlp_out.0-random", f): "cats" for f in range(64)}
    return trace(
        model,
        " the cat sat on the mat",
        random_transcoders(model),
        target=" Paris",
        names=lambda name, feature: names.get((name, feature)),
    )


def test_json_round_trip(graph: Graph) -> None:
    text = json.dumps(graph.to_json())
    back = Graph.from_json(json.loads(text))
    assert back.to_json() == graph.to_json()
    back.names = graph.names
    assert back.is_pruned
    assert back.scores == graph.scores
    assert len(back.nodes) == int(graph.kept_nodes.sum())
    kept = {
        (graph.title(graph.nodes[s]), graph.title(graph.nodes[t]), float(w))
        for number in np.flatnonzero(graph.kept_edges)
        for s, t, w in [(e[number] for e in (vars(graph.edges).values()))]
    }
    read = {
        (back.title(back.nodes[s]), back.title(back.nodes[t]), float(w))
        for s, t, w in zip(back.edges.source, back.edges.target, back.edges.weight, strict=True)
    }
    assert read == kept


def test_a_graph_of_version_1_is_read() -> None:
    graph = Graph.from_json(json.loads(FIXTURE.read_text(encoding="utf-8")))
    assert graph.prompt == " the cat"
    assert [n.kind for n in graph.nodes] == ["feature", "embedding", "embedding", "logit"]
    assert graph.edges.weight.tolist() == [0.5, -1.25, 2.0]
    assert paths(graph, num_paths=1)[0].nodes == (1, 0, 3)
    assert graph.title(graph.nodes[0]).endswith("' cat'@1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99 of inscape.graph.*up to 2.*upgrade"),
        ({"schema": "other"}, "found schema .*inscape trace"),
        ({"version": "1"}, "found schema .*inscape trace"),
        ({"nodes": [{"kind": "feature"}]}, "damaged"),
        ({"scores": None}, "damaged"),
    ],
)
def test_what_is_no_graph_is_refused(graph: Graph, change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Graph.from_json({**graph.to_json(), **change})


def test_viewer_format(graph: Graph) -> None:
    view = json.loads(json.dumps(graph.to_viewer()))
    assert set(view) == {"metadata", "qParams", "nodes", "links"}
    assert {"slug", "scan", "prompt_tokens", "prompt"} <= set(view["metadata"])
    for name in (view["metadata"]["slug"], view["metadata"]["scan"]):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", name)
    assert set(view["qParams"]) == {"pinnedIds", "supernodes", "linkType", "clickedId", "sg_pos"}
    required = {"node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"}
    assert all(required <= set(node) for node in view["nodes"])
    ids = [node["node_id"] for node in view["nodes"]]
    assert len(ids) == len(set(ids)) == int(graph.kept_nodes.sum())
    assert len(view["links"]) == int(graph.kept_edges.sum())
    assert all({link["source"], link["target"]} <= set(ids) for link in view["links"])
    assert any(link["weight"] < 0 for link in view["links"])
    assert any(
        node["feature_type"] != "logit" and node["layer"].isdigit() and int(node["layer"]) > 0
        for node in view["nodes"]
    )


def test_viewer_ids_by_kind(graph: Graph) -> None:
    nodes = {node["node_id"]: node for node in graph.to_viewer()["nodes"]}
    for number in np.flatnonzero(graph.kept_nodes):
        node = graph.nodes[number]
        if node.kind == "feature":
            made = nodes[f"{node.layer}_{node.feature}_{node.position}"]
            pair = (node.layer or 0) + node.feature
            assert made["feature"] == pair * (pair + 1) // 2 + node.feature
            diagonal = (math.isqrt(8 * made["feature"] + 1) - 1) // 2  # and back again
            assert made["feature"] - diagonal * (diagonal + 1) // 2 == node.feature
            assert made["feature_type"] == "cross layer transcoder"
            assert made["jsNodeId"] == f"{node.layer}_{node.feature}-0"
            assert made["clerp"] == (graph.label(node) or f"{node.dictionary}/{node.feature}")
            assert 0 < made["influence"] <= 1
        elif node.kind == "error":
            made = nodes[f"{node.layer}_-1_{node.position}"]
            assert (made["feature"], made["jsNodeId"]) == (-1, f"{node.layer}_-1-{node.position}")
        elif node.kind == "embedding":
            made = nodes[f"E_{node.feature}_{node.position}"]
            assert (made["layer"], made["feature"]) == ("E", node.position)
        else:
            made = nodes[f"{NUM_LAYERS + 1}_{node.feature}_{node.position}"]
            assert made["layer"] == str(NUM_LAYERS + 1)
            assert re.fullmatch(r'Output " Paris" \(p=0\.\d{3}\)', made["clerp"])
            assert made["is_target_logit"]


def test_prompts_of_other_scripts_have_slugs_of_their_own(graph: Graph) -> None:
    slugs = {
        replace(graph, prompt=prompt).to_viewer()["metadata"]["slug"]
        for prompt in ("日本の首都は", "中国の首都は", "Tōkyō is", "Tokyo is")
    }
    assert len(slugs) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", slug) for slug in slugs)
    assert "Tokyo-is" in slugs


def test_viewer_always_shows_a_node_above_layer_0(graph: Graph) -> None:
    few = Graph(**{**vars(graph), "kept_nodes": graph.kept_nodes.copy()})
    for number, node in enumerate(few.nodes):
        if node.kind in ("feature", "error"):
            few.kept_nodes[number] = False
    few.kept_edges = (
        graph.kept_edges & few.kept_nodes[graph.edges.source] & few.kept_nodes[graph.edges.target]
    )
    layers = [n["layer"] for n in few.to_viewer()["nodes"] if n["feature_type"] != "logit"]
    assert sum(layer.isdigit() and int(layer) > 0 for layer in layers) == 1


def test_strongest_paths_are_those_of_a_full_search(graph: Graph) -> None:
    share = normalised(graph.edges, len(graph.nodes))
    steps: dict[int, list[tuple[int, float]]] = {}
    for number in np.flatnonzero(graph.kept_edges):
        s, t = int(graph.edges.source[number]), int(graph.edges.target[number])
        steps.setdefault(t, []).append((s, float(share[number])))

    found: list[tuple[float, tuple[int, ...]]] = []

    def walk(nodes: tuple[int, ...], strength: float) -> None:
        if graph.nodes[nodes[0]].kind == "embedding":
            found.append((strength, nodes))
        for source, part in steps.get(nodes[0], []):
            walk((source, *nodes), strength * part)

    walk((graph.targets[0],), 1.0)
    found.sort(reverse=True)
    made = paths(graph, num_paths=5)
    assert len(found) > 5
    assert [p.nodes for p in made] == [nodes for _, nodes in found[:5]]
    assert [p.strength for p in made] == pytest.approx([s for s, _ in found[:5]])


def test_a_paths_sign_is_the_product_of_its_edges(graph: Graph) -> None:
    for path in paths(graph, num_paths=20):
        weights = [
            next(w for s, w in graph.inputs(b) if s == a) for a, b in itertools.pairwise(path.nodes)
        ]
        assert path.weights == tuple(weights)
        assert path.sign == np.sign(np.prod(np.sign(weights)))


def test_summary_names_target_scores_and_features(graph: Graph) -> None:
    text = graph.summary()
    assert "logit ' Paris'" in text
    assert f"completeness {graph.scores.completeness:.2f}" in text
    assert "token ' " in text
    assert re.search(r"-\([+-]\d", text)


def test_summary_gives_the_names_that_steering_takes(graph: Graph) -> None:
    text = graph.summary()
    kept = [graph.nodes[i] for i in np.flatnonzero(graph.kept_nodes)]
    strongest = max((n for n in kept if n.kind == "feature"), key=lambda node: node.influence)
    assert f"{strongest.dictionary}/{strongest.feature}" in text
    graph = replace(graph, kept_edges=np.zeros_like(graph.kept_edges))
    assert graph.summary().count("none kept") == 1


def test_a_notebook_shows_the_picture_escaped(graph: Graph) -> None:
    shown = replace(graph, prompt="<b>&")._repr_html_()
    assert "&lt;b&gt;&amp;" in shown
    assert "<b>&" not in shown
    assert "<svg" in shown


def test_groups(graph: Graph) -> None:
    for group in same_feature(graph):
        nodes = [graph.nodes[m] for m in group.nodes]
        assert len({(n.layer, n.feature) for n in nodes}) == 1
        assert len({n.position for n in nodes}) == len(nodes) > 1
