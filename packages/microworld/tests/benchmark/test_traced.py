"""Traces and the step that they should pass through."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import random_transcoders

from inscape.attribution import Graph, trace
from inscape.core import InputError, Share
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape_microworld import open_model
from inscape_microworld.benchmark import traced
from inscape_microworld.benchmark.interface import DictionaryFeatures
from inscape_microworld.benchmark.swaps import FeatureSwap, Members, Swap, Together, batch

TEXT = "The capital of the country where the Colosseum is"
HELD = [Swap(TEXT, 37, 46, "in_italy", "in_italy", " Rome", "colosseum, capital")]
"""The mention ends with the prompt's last token but one."""


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(device="cpu")


@pytest.fixture(scope="module")
def transcoders(model: Model) -> dict[int, Dictionary]:
    """Loud enough that some of their features matter to the answer."""
    made = random_transcoders(model, d_dict=512, k=16)
    for dictionary in made.values():
        dictionary.W_dec.mul_(10)
    return made


@pytest.fixture(scope="module")
def graph(model: Model, transcoders: dict[int, Dictionary]) -> Graph:
    return trace(model, TEXT, transcoders, target=" Rome")


@pytest.fixture(scope="module")
def begin(model: Model) -> int:
    return int(batch(model, HELD).mention[0, 1]) - 1


def late(graph: Graph, begin: int, *, kept: bool) -> int:
    """The most active feature node after the mention that the pruned graph keeps, or leaves out."""
    inside = [
        i
        for i, n in enumerate(graph.nodes)
        if n.kind == "feature"
        and n.position >= begin
        and bool(graph.kept_nodes[i]) is kept
        and not any(
            m.kind == "feature" and (m.layer, m.feature) == (n.layer, n.feature) and m is not n
            for m in graph.nodes
        )
    ]
    return max(inside, key=lambda i: graph.nodes[i].activation)


def planted(graph: Graph, number: int, threshold: float = 0.0) -> traced.Unions:
    node = graph.nodes[number]
    return {"in_italy": {node.dictionary or "": {node.feature: threshold}}}


def test_a_kept_feature_is_passed_through_and_one_left_out_is_not(
    model: Model, transcoders: dict[int, Dictionary], graph: Graph, begin: int
) -> None:
    held = [*HELD, replace(HELD[0], text=TEXT + " in", concept="in_japan", wanted=" Tokyo")]
    kept, left = late(graph, begin, kept=True), late(graph, begin, kept=False)
    found = traced.study(model, transcoders, planted(graph, kept), held)
    assert found.passes == Share(1, 2)
    assert found.whole == Share(1, 2)
    assert found.layers == {graph.nodes[kept].layer: 1}
    assert found.influence == pytest.approx(graph.nodes[kept].influence / 2)
    assert found.others.total == 2
    found = traced.study(model, transcoders, planted(graph, left), HELD)
    assert (found.passes, found.whole) == (Share(0, 1), Share(1, 1))
    json.dumps([found.to_json(), traced.row(found).to_json()])


def test_neither_weak_features_nor_those_before_the_mention_count(graph: Graph, begin: int) -> None:
    number = late(graph, begin, kept=True)
    node = graph.nodes[number]
    (features,) = planted(graph, number, node.activation).values()
    assert np.flatnonzero(traced.stands_for(graph, features, begin)).tolist() == [number]
    assert not traced.stands_for(graph, features, node.position + 1).any()
    (above,) = planted(graph, number, np.nextafter(node.activation, np.inf)).values()
    assert not traced.stands_for(graph, above, begin).any()


def test_the_random_draw_has_as_many_features_of_each_layer(graph: Graph) -> None:
    mask = traced.drawn(graph, np.random.default_rng(0))
    layers = np.array([n.layer if n.kind == "feature" else -1 for n in graph.nodes])
    assert not mask[layers < 0].any()
    for layer in range(graph.num_layers):
        here = layers == layer
        assert mask[here].sum() == graph.kept_nodes[here].sum()
    assert (mask != graph.kept_nodes)[layers >= 0].any()


def test_unions_carry_their_thresholds() -> None:
    found = SimpleNamespace(concept="in_italy", features=(3, 5), thresholds=(0.5, 2.0))
    assert traced.unions({"mlp.0": [found]}) == {"in_italy": {"mlp.0": {3: 0.5, 5: 2.0}}}


def test_nothing_to_pass_through_is_refused(
    model: Model, transcoders: dict[int, Dictionary]
) -> None:
    with pytest.raises(InputError, match="no composition"):
        traced.study(model, transcoders, {}, [])
    with pytest.raises(InputError, match="no transcoder"):
        traced.study(model, {}, {}, HELD)


def test_changes_together_are_those_of_every_site(
    model: Model, transcoders: dict[int, Dictionary]
) -> None:
    """Each transcoder's swap adds what its feature lacks of the donor's mean."""
    swaps = batch(model, [replace(HELD[0], donor="in_japan")])
    members = {"in_japan": Members((7,), (3.0,))}
    ways = [
        FeatureSwap(DictionaryFeatures(transcoders[layer]), members, "last") for layer in (0, 2)
    ]
    rows, at = torch.tensor([0]), int(swaps.answer[0, 0]) - 1
    sites = ["mlp_in.0", "mlp_out.0", "mlp_in.2", "mlp_out.2"]
    plain = model.run(swaps.tokens, read=sites)
    first = model.run(swaps.tokens, read=sites, edits=ways[0].edits(swaps, rows))
    both = model.run(swaps.tokens, read=sites, edits=Together(ways).edits(swaps, rows))
    assert not torch.equal(both["mlp_in.2"], plain["mlp_in.2"])
    for layer, before in ((0, plain), (2, first)):
        own = transcoders[layer]
        old = own.encode(both[f"mlp_in.{layer}"][0, at : at + 1].float()).of(7)
        added = both[f"mlp_out.{layer}"][0, at] - before[f"mlp_out.{layer}"][0, at]
        torch.testing.assert_close(added, (3.0 - old) * own.W_dec[7], atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="two changes write"):
        Together([ways[0], ways[0]]).edits(swaps, rows)
