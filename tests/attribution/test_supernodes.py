"""Groups of features: alike, named, and each name tested in the model as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary
from tests.attribution.targets import targets_of
from tests.families import tiny

from inscape.attribution import Graph, Supernode, trace
from inscape.attribution.supernodes import _linked
from inscape.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"))


@pytest.fixture(scope="module")
def graph(model: Model) -> Graph:
    return trace(model, TOKENS, max_features=60, node_share=1.0, edge_share=1.0)


def test_groups_are_of_one_token_and_apart(graph: Graph) -> None:
    assert graph.supernodes
    seen: set[int] = set()
    for one in graph.supernodes:
        assert len(one.nodes) > 1
        assert len({graph.nodes[n].position for n in one.nodes}) == 1
        assert not seen & set(one.nodes)
        seen |= set(one.nodes)
        assert one.effect == pytest.approx(sum(graph.nodes[n].effect or 0 for n in one.nodes))


def test_what_is_measured_is_what_the_targets_lose(model: Model, graph: Graph) -> None:
    value = targets_of(model, graph)
    for one in graph.supernodes[:3]:
        edits = {}
        for layer in range(model.num_layers):
            own = [graph.nodes[n] for n in one.nodes if graph.nodes[n].layer == layer]
            width = model.width(f"mlp_act.{layer}")

            def gone(x: torch.Tensor, own: list = own, width: int = width) -> torch.Tensor:  # type: ignore[type-arg]
                x = x.clone()
                for node in own:
                    x[:, node.position, node.feature % width] = 0
                return x

            edits[f"mlp_act.{layer}"] = gone
        assert one.measured == pytest.approx(
            value(TOKENS, {}) - value(TOKENS, edits), rel=1e-3, abs=1e-4
        )


def test_names_say_what_they_rest_on(graph: Graph) -> None:
    for one in graph.supernodes:
        if one.by == "promoted tokens":
            assert one.name.startswith("promotes ")
        elif one.by == "the token that sets it off":
            assert one.name.startswith("set off by ")
        assert (one.holds is None) == (
            one.by not in ("promoted tokens", "the token that sets it off")
        )
    tested = [one for one in graph.supernodes if one.holds is not None]
    assert tested
    assert "groups of alike features" in graph.summary()
    failed = [replace(one, holds=False) for one in tested]
    assert "the name FAILS its test" in replace(graph, supernodes=failed).summary()


def test_features_of_one_label_are_one_group(model: Model) -> None:
    site = "resid_post.1"
    made = random_dictionary(site, site, d=model.d_model, k=8)

    def names(dictionary: str, feature: int) -> str | None:
        return "cats" if dictionary == made.name else None

    found = trace(model, TOKENS, [made], max_features=80, node_share=1.0, names=names)
    groups = [one for one in found.supernodes if one.name.startswith("cats at ")]
    assert groups
    for one in groups:
        assert one.by == "label"
        assert any(found.nodes[n].dictionary == made.name for n in one.nodes)
    by_place: dict[int, set[int]] = {}
    for number, one in enumerate(found.supernodes):
        for n in one.nodes:
            if found.nodes[n].dictionary == made.name:
                by_place.setdefault(found.nodes[n].position, set()).add(number)
    assert all(len(numbers) == 1 for numbers in by_place.values())


def test_groups_are_saved_and_pruned_with_their_graph(graph: Graph) -> None:
    again = Graph.from_json(graph.to_json())
    assert [one.name for one in again.supernodes] == [one.name for one in graph.supernodes]
    assert again.supernodes[0].measured == graph.supernodes[0].measured
    old = graph.to_json()
    old["supernodes"] = [{"name": "mine", "nodes": [0, 1]}]
    assert Graph.from_json(old).supernodes == [Supernode("mine", (0, 1))]
    assert trace(Model.wrap(tiny("llama")), TOKENS, verified=0).supernodes == []


def test_average_linkage() -> None:
    cosine = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    assert sorted(_linked([4, 7, 9], cosine)) == [[4, 7], [9]]
    assert _linked([4], cosine[:1, :1]) == [[4]]
