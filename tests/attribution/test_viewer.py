"""What the published viewer is given: ids, numbers, types, supernodes, pins, and all of it back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import tiny

from inscape.attribution import Graph, Supernode, same_feature, trace
from inscape.attribution.viewer import pair, unpair
from inscape.attribution.viewer_schema import check_graph
from inscape.core import DataError
from inscape.model import Model


@pytest.fixture(scope="module")
def mixed() -> Graph:
    """Transcoders, neurons where there is none, and a dictionary of the stream; all of it kept."""
    model = Model.wrap(tiny("llama"))
    transcoders = random_transcoders(model)
    sites = ("resid_post.1", "resid_post.2")
    stream = [random_dictionary(s, s, d=model.d_model, seed=n) for n, s in enumerate(sites)]
    read = [transcoders[0], transcoders[1], *stream]
    names = {(stream[0].name, f): f"concept {f}" for f in range(64)}
    graph = trace(model, TOKENS, read, max_features=90, names=lambda name, f: names.get((name, f)))
    nodes = [replace(node) for node in graph.nodes]
    # Make sure that there is a pair which only its dictionaries tell apart.
    one = next(n for n in nodes if n.dictionary == "resid_post.1-random")
    two = next(n for n in nodes if n.dictionary == "mlp_out.1-random")
    two.feature, two.position = one.feature, one.position
    kept = np.ones(len(nodes), bool)
    return replace(graph, nodes=nodes, kept_nodes=kept, kept_edges=np.ones(len(graph.edges), bool))


def viewed(graph: Graph) -> dict[str, Any]:
    view: dict[str, Any] = json.loads(json.dumps(graph.to_viewer(), allow_nan=False))
    return view


def test_features_of_two_dictionaries_of_a_layer_do_not_collide(mixed: Graph) -> None:
    view = viewed(mixed)
    ids = [node["node_id"] for node in view["nodes"]]
    assert len(set(ids)) == len(ids) == len(mixed.nodes)
    assert all(len(id.split("_")) == 3 for id in ids)
    made = list(zip(mixed.nodes, view["nodes"], strict=True))
    owner: dict[int, tuple[str | None, int | None, int]] = {}
    for node, entry in made:
        if node.kind == "feature":
            key = (node.dictionary, node.layer, node.feature)
            assert owner.setdefault(entry["feature"], key) == key
            assert entry["layer"] == str(node.layer)
            above = 1000 if node.dictionary in mixed.checkpoints else 0
            assert unpair(entry["feature"]) == (node.layer + above, node.feature)  # type: ignore[operator]
            assert entry["node_id"].startswith(f"{node.layer + above}_{node.feature}_")  # type: ignore[operator]
    offsets = view["metadata"]["inscape"]["layer_offsets"]
    assert offsets == {"resid_post.1-random": 1000, "resid_post.2-random": 1000}
    groups = [one.name for one in same_feature(mixed)]
    assert len(groups) == len(set(groups))


@pytest.mark.parametrize("numbers", [(0, 0), (29, 3071), (1022, 33_554_431), (0, 10**7)])
def test_pairs(numbers: tuple[int, int]) -> None:
    assert unpair(pair(*numbers)) == numbers
    assert 8 * pair(*numbers) + 1 < 2**53  # a page can undo it


def test_what_other_features_write_is_a_node_of_its_own(mixed: Graph) -> None:
    made = zip(mixed.nodes, viewed(mixed)["nodes"], strict=True)
    rest = [(node, entry) for node, entry in made if node.kind == "rest"]
    assert rest
    for node, entry in rest:
        assert entry["feature_type"] == "unknown"
        assert entry["node_id"] == f"{node.layer}_-2_{node.position}"
        assert entry["layer"] == str(node.layer)
        assert entry["clerp"].startswith("Other features")
        assert not entry["is_target_logit"]


def test_every_feature_has_a_name(mixed: Graph) -> None:
    for node, entry in zip(mixed.nodes, viewed(mixed)["nodes"], strict=True):
        if node.kind == "feature":
            assert entry["clerp"] == (mixed.label(node) or f"{node.dictionary}/{node.feature}")


def test_the_file_is_as_the_schema_says(mixed: Graph) -> None:
    view = check_graph(viewed(mixed))
    assert view.metadata.node_threshold is not None
    shown = [n for n in view.nodes if n.feature_type not in ("logit", "embedding")]
    assert all(n.influence is not None for n in shown)
    assert max(n.influence or 0 for n in shown) <= view.metadata.node_threshold
    assert all("(p=" in n.clerp for n in view.nodes if n.feature_type == "logit")


def test_it_comes_back_as_it_was(mixed: Graph) -> None:
    again = Graph.from_viewer(viewed(mixed))
    assert again.to_json() == mixed.to_json()
    assert [again.label(n) for n in again.nodes] == [mixed.label(n) for n in mixed.nodes]


def test_supernodes_and_pins_go_there_and_back(mixed: Graph) -> None:
    features = [n for n, node in enumerate(mixed.nodes) if node.kind == "feature"]
    groups = [Supernode("a & “b”", tuple(features[:3])), Supernode("c", (mixed.targets[0],))]
    graph = replace(mixed, supernodes=groups, pins=[features[4], mixed.targets[0]])
    view = viewed(graph)
    ids = [node["node_id"] for node in view["nodes"]]
    assert view["qParams"]["pinnedIds"] == [ids[n] for n in graph.pins]
    assert view["qParams"]["supernodes"][0] == ["a & “b”", *(ids[n] for n in features[:3])]
    again = Graph.from_viewer(view)
    assert (again.supernodes, again.pins) == (groups, graph.pins)
    saved = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert (saved.supernodes, saved.pins) == (groups, graph.pins)


def test_pruning_renumbers_supernodes_and_pins(mixed: Graph) -> None:
    kept = mixed.kept_nodes.copy()
    first = [n for n, node in enumerate(mixed.nodes) if node.kind == "feature"][:3]
    kept[first[0]] = False
    graph = replace(
        mixed,
        kept_nodes=kept,
        kept_edges=kept[mixed.edges.source] & kept[mixed.edges.target],
        supernodes=[Supernode("gone", (first[0],)), Supernode("left", tuple(first))],
        pins=first,
    )
    part = graph.pruned()
    nodes = [part.nodes[n] for n in part.pins]
    assert [id(n) for n in nodes] == [id(graph.nodes[n]) for n in first[1:]]
    assert part.supernodes == [Supernode("left", tuple(part.pins))]


def test_files_from_before_have_neither(mixed: Graph) -> None:
    content = mixed.to_json()
    del content["supernodes"], content["pins"]
    read = Graph.from_json(content)
    assert (read.supernodes, read.pins) == ([], [])


def test_a_pin_outside_the_graph_is_damage(mixed: Graph) -> None:
    with pytest.raises(DataError, match="damaged .a pin or supernode names a node outside"):
        Graph.from_json({**mixed.to_json(), "pins": [10_000]})


def test_routes_stay_at_their_edges() -> None:
    model = Model.wrap(tiny("llama"))
    graph = trace(model, TOKENS, random_transcoders(model), heads=3)
    assert graph.routes
    assert Graph.from_viewer(viewed(graph)).to_json() == graph.to_json()
