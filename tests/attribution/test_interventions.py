"""Groups and edges exchanged with another prompt, against plain runs of the model as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.attribution.random_transcoders import TOKENS
from tests.attribution.targets import targets_of
from tests.families import tiny

from inscape.attribution import Graph, Node, trace
from inscape.model import Model, counterparts

OTHERS = {
    "as many tokens": [TOKENS[0], 8, *TOKENS[2:]],
    "one more": [TOKENS[0], 8, 11, *TOKENS[2:]],
    "one less": [TOKENS[0], 8, *TOKENS[3:]],
}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"))


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest) -> list[int]:
    return OTHERS[request.param]


@pytest.fixture(scope="module")
def graph(model: Model, other: list[int]) -> Graph:
    return trace(model, TOKENS, max_features=60, node_share=1.0, edge_share=1.0, other=other)


def swapped(model: Model, nodes: list[Node], values: list[int], back: bool) -> dict[str, Any]:
    """Edits that set neurons to what they are on another prompt; `back`: on that one to what they
    are on TOKENS. Those whose tokens have no counterpart stay."""
    places = counterparts(TOKENS, values)
    nodes = [node for node in nodes if node.position in places]
    edits: dict[str, Any] = {}
    for layer in {node.layer for node in nodes}:
        site, own = f"mlp_act.{layer}", [node for node in nodes if node.layer == layer]
        there = model.run(model.prompt(TOKENS if back else values), read=[site])[site]

        def swap(x: torch.Tensor, own: Any = own, there: torch.Tensor = there) -> torch.Tensor:
            x = x.clone()
            for node in own:
                neuron = node.feature % x.shape[-1]
                ends = node.position, places[node.position]
                to, at = ends[::-1] if back else ends
                x[:, to, neuron] = there[0, at, neuron]
            return x

        edits[site] = swap
    return edits


def test_groups_are_exchanged_and_restored(model: Model, graph: Graph, other: list[int]) -> None:
    value = targets_of(model, graph)
    assert graph.supernodes
    for one in graph.supernodes:
        nodes = [graph.nodes[n] for n in one.nodes]
        if nodes[0].position not in counterparts(TOKENS, other):
            assert one.exchanged is one.restored is None
            continue
        lost = value(TOKENS, {}) - value(TOKENS, swapped(model, nodes, other, False))
        gained = value(other, swapped(model, nodes, other, True)) - value(other, {})
        assert one.exchanged == pytest.approx(lost, rel=1e-3, abs=1e-4)
        assert one.restored == pytest.approx(gained, rel=1e-3, abs=1e-4)
        assert len(one.controls) == len(one.exchanged_controls) == len(one.restored_controls) == 3
    assert max(abs(one.exchanged or 0.0) for one in graph.supernodes) > 1e-3


def test_edges_are_exchanged_and_restored(model: Model, graph: Graph, other: list[int]) -> None:
    places = counterparts(TOKENS, other)

    def value(node: Node, ids: list[int], edits: dict[str, Any]) -> float:
        """A neuron's activation, with the sign that it has on the prompt."""
        site, width = f"mlp_act.{node.layer}", model.width(f"mlp_act.{node.layer}")
        position = places[node.position] if ids == other else node.position
        x = model.run(model.prompt(ids), read=[site], edits=edits)[site][0, position]
        return float(x[node.feature % width]) * (1 if node.feature < width else -1)

    assert graph.links
    for one in graph.links:
        source, target = graph.nodes[one.source], graph.nodes[one.target]
        if target.position not in places or source.position not in places:
            assert one.exchanged is one.restored is None
            continue
        plain, there = value(target, TOKENS, {}), value(target, other, {})
        exchanged = plain - value(target, TOKENS, swapped(model, [source], other, False))
        restored = value(target, other, swapped(model, [source], other, True)) - there
        assert one.gap == pytest.approx(plain - there, rel=1e-3, abs=1e-5)
        assert one.exchanged == pytest.approx(exchanged, rel=1e-3, abs=1e-5)
        assert one.restored == pytest.approx(restored, rel=1e-3, abs=1e-5)
        assert len(one.exchanged_controls) == len(one.restored_controls) == 3
    assert any(abs(one.exchanged or 0.0) > 1e-4 for one in graph.links)


def test_what_was_exchanged_is_said_and_saved(graph: Graph, other: list[int]) -> None:
    text = graph.summary()
    assert "as in the other prompt" in text
    alone = len(counterparts(TOKENS, other)) < len(TOKENS)
    assert ("note: without a counterpart in the other prompt" in text) == alone
    assert " more here than there" in text
    again = Graph.from_json(graph.to_json())
    assert [one.exchanged for one in again.supernodes] == [
        one.exchanged for one in graph.supernodes
    ]
    assert [one.restored for one in again.links] == [one.restored for one in graph.links]
    plain = trace(Model.wrap(tiny("llama")), TOKENS, max_features=60)
    assert all(one.exchanged is None for one in [*plain.supernodes, *plain.links])
    assert "other prompt" not in plain.summary()


def test_counterparts() -> None:
    assert counterparts("abcx", "abcx") == {n: n for n in range(4)}
    assert counterparts("abcx", "abdx") == {n: n for n in range(4)}
    assert counterparts("apqx", "arsuvx") == {0: 0, 1: 3, 2: 4, 3: 5}
    assert counterparts("arsuvx", "apqx") == {0: 0, 3: 1, 4: 2, 5: 3}
    assert counterparts("aax", "aaax") == {0: 0, 1: 1, 2: 3}
    assert counterparts("ab", "xyz") == {0: 1, 1: 2}
    assert counterparts("abc", "abcde") == {0: 0, 1: 1, 2: 4}
