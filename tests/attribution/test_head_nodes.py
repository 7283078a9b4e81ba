"""Attention heads as nodes: exact edges, and what happens to the model without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import TINY_FAMILIES, tiny

from inscape.attribution import Graph, explain_attention, trace
from inscape.attribution.bases import find_bases
from inscape.attribution.effects import Removal, Removals
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import read
from inscape.core import InputError
from inscape.model import Model
from inscape.validation import check_edges


def heads_of(graph: Graph) -> list[int]:
    return [
        n for n, one in enumerate(graph.nodes) if (one.dictionary or "").startswith("attn_head.")
    ]


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_edges_into_and_out_of_heads_are_what_an_intervention_says(family: str) -> None:
    model = Model.wrap(tiny(family), name=family)
    graph = trace(model, TOKENS, max_features=80, head_nodes=True, verified=0)
    if not any(model.num_heads(layer) for layer in range(model.num_layers)):
        assert not heads_of(graph)
        return
    chosen = heads_of(graph)
    assert chosen
    assert np.isin(graph.edges.source, chosen).any()
    assert np.isin(graph.edges.target, chosen).any()
    found = check_edges(model, [], graph)
    assert found.max_error <= 1e-4
    assert (found.bias_error or 0.0) <= 1e-4


@pytest.mark.parametrize("which", ["transcoders", "stream"])
def test_heads_beside_other_bases(which: str) -> None:
    model = Model.wrap(tiny("llama"))
    site = "resid_post.0"
    made = (
        list(random_transcoders(model).values())
        if which == "transcoders"
        else [random_dictionary(site, site, d=model.d_model)]
    )
    graph = trace(model, TOKENS, made, max_features=80, head_nodes=True, verified=0)
    assert heads_of(graph)
    found = check_edges(model, made, graph)
    assert found.max_error <= 1e-4
    names = {node.dictionary for n in heads_of(graph) for node in [graph.nodes[n]]}
    assert names <= set(graph.checkpoints)


def test_what_a_head_gives_is_taken_away_and_exchanged() -> None:
    model = Model.wrap(tiny("llama"))
    bases, _ = find_bases(model, [], heads=True)
    number = next(n for n, basis in enumerate(bases) if basis.read == "attn_head.1")
    mine = read(model, bases, model.prompt(TOKENS))
    theirs = read(model, bases, model.prompt([TOKENS[0], *[t + 1 for t in TOKENS[1:]]]))
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    goal = Linear(len(TOKENS) - 1, vector, 1.0)
    removals = Removals(mine, [goal])
    count, at, head = model.num_heads(1), 3, 1
    width = mine.inputs["attn_head.1"].shape[1] // count
    own = slice(head * width, (head + 1) * width)
    given = theirs.inputs["attn_head.1"][at, own]

    def lost(put: torch.Tensor | float) -> float:
        def edit(x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x[:, at, own] = put
            return x

        run = model.run(mine.prompt, read=["final"], edits={"attn_head.1": edit})
        return float((mine.final[-1] - run["final"][0, -1]) @ vector)

    sets = [[Removal(number, head, at, 1.0)], [Removal(number, head, at, 1.0, given)]]
    assert removals.lost(sets) == pytest.approx([lost(0.0), lost(given)], abs=1e-5)
    assert abs(lost(given)) > 1e-4


def test_a_graph_with_heads_is_verified_saved_and_shown() -> None:
    model = Model.wrap(tiny("llama"))
    other = [TOKENS[0], *[t + 1 for t in TOKENS[1:]]]
    graph = trace(model, TOKENS, max_features=40, head_nodes=True, other=other)
    assert graph.verification is not None
    measured = [graph.nodes[n].measured for n in heads_of(graph)]
    assert any(value is not None for value in measured)
    again = Graph.from_json(graph.to_json())
    assert heads_of(again)
    kept = [n for n in heads_of(graph) if graph.kept_nodes[n]]
    node = graph.nodes[kept[0]]
    assert graph.title(node).startswith(f"head {node.feature} of layer {node.layer} ")
    assert "neurons and heads are nodes" in " ".join(graph.notes)
    view = graph.to_viewer()
    ids = [one["node_id"] for one in view["nodes"]]
    assert len(set(ids)) == len(ids)
    assert len(Graph.from_viewer(view).nodes) == len(again.nodes)
    assert not any(n in kept for group in graph.supernodes for n in group.nodes)


def test_edges_are_split_by_head_or_lead_to_heads() -> None:
    with pytest.raises(InputError, match="heads is 3"):
        trace(Model.wrap(tiny("llama")), TOKENS, heads=3, head_nodes=True)
    model = Model.wrap(tiny("llama"))
    assert explain_attention(model, TOKENS, layer=1, head=0).pairs
