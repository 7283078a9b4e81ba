"""Cross-layer transcoders in a trace: every edge is what the frozen model measures for it.

The frozen copy (`validation.frozen`) shares nothing with the room that traces; what a feature
writes is taken out of each layer that it writes, by rows of W_dec that are found by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_transcoders
from tests.families import D_MODEL, tiny
from tests.intervention.test_several import LAYERS, SIZE, clt, crosscoder, row
from torch import Tensor

from inscape.attribution import trace
from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.validation.frozen import FrozenModel

CASES: dict[str, dict[str, Any]] = {
    "threshold": {},
    "threshold, skip": {"skip": True},
    "topk of each layer": {"kind": "topk", "k": 4, "scope": "layer"},
    "topk over the layers": {"kind": "topk", "k": 9},
    "before the norm": {"site_in": "resid_mid.0+resid_mid.1+resid_mid.2"},
}


class Measured:
    """Frozen passes of a model, read at what the transcoder reads."""

    def __init__(self, model: Model, one: Dictionary) -> None:
        self.one, self.mid = one, one.reads[0].startswith("resid_mid")
        there = (torch.arange(len(TOKENS)) > 0)[:, None, None]  # none at beginning-of-text
        skips = {} if one.W_skip is None else {n: there * one.W_skip[n] for n in range(LAYERS)}
        self.frozen = FrozenModel(model, TOKENS, skips)
        self.stream: dict[int, Tensor] = {}

    def __enter__(self) -> Measured:
        self.frozen.__enter__()
        for n, block in enumerate(self.frozen.module.model.layers):

            def keep(module: Any, args: Any, n: int = n) -> None:
                self.stream[n] = args[0]

            block.post_attention_layernorm.register_forward_pre_hook(keep)
        return self

    def __exit__(self, *unused: object) -> None:
        self.frozen.__exit__()

    def run(self, removed: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Pre-activations [layer, pos, feature of it], and the final norm's output."""
        found = self.frozen.run(removed, 1)
        read = self.stream if self.mid else found
        weights = self.one.W_enc.view(LAYERS, SIZE, D_MODEL).double()
        pre = [read[n][0] @ weights[n].T for n in range(LAYERS)]
        return torch.stack(pre), found[LAYERS][0]


@pytest.mark.parametrize("name", CASES)
def test_every_edge_is_what_an_intervention_measures(name: str) -> None:
    model = Model.wrap(tiny("llama"))
    one = clt(**CASES[name])
    graph = trace(model, TOKENS, dict.fromkeys(range(LAYERS), one))
    features = [n for n, node in enumerate(graph.nodes) if node.kind == "feature"]
    assert len(features) > 30
    assert {graph.nodes[n].layer for n in features} == set(range(LAYERS))
    edges = np.zeros((len(graph.nodes), len(graph.nodes)))
    edges[graph.edges.target, graph.edges.source] = graph.edges.weight
    head = model.unembedding().double()
    measured = np.zeros_like(edges)
    with Measured(model, one) as passes:
        clean = passes.run({})
        for source, node in enumerate(graph.nodes):
            if node.kind == "logit":
                continue
            removed = {
                layer: torch.zeros(1, len(TOKENS), D_MODEL)
                .double()
                .index_put_((torch.tensor(0), torch.tensor(node.position)), vector)
                for layer, vector in written(graph, one, passes, node).items()
            }
            pre, final = (a - b for a, b in zip(clean, passes.run(removed), strict=True))
            for n in features:
                to = graph.nodes[n]
                measured[n, source] = pre[to.layer, to.position, to.feature % SIZE]
            for n in graph.targets:
                vector = head[graph.nodes[n].feature] - head.mean(0)
                measured[n, source] = final[-1] @ vector
    rows = [*features, *graph.targets]
    scale = np.abs(measured[rows]).max(1, keepdims=True)
    assert (np.abs(measured[rows] - edges[rows]) / np.maximum(scale, 1e-9)).max() <= 1e-4
    first = [n for n in features if graph.nodes[n].layer == 0]
    last = [n for n in features if graph.nodes[n].layer == LAYERS - 1]
    assert np.abs(edges[np.ix_(last, first)]).max() > 0


def written(graph: Any, one: Dictionary, passes: Measured, node: Any) -> dict[int, Tensor]:
    """What a source writes, by layer (-1: the embedding)."""
    layer, position = node.layer, node.position
    if node.kind == "embedding":
        return {-1: passes.frozen.embedded[0, position]}
    if node.kind == "feature":
        value = node.activation
        return {n: value * row(one, node.feature, n).double() for n in range(layer, LAYERS)}
    out = passes.frozen.mlp_out[layer][0, position].clone()
    if position > 0:  # beginning-of-text is not encoded: its whole output is error
        out -= one.b_dec[layer * D_MODEL : (layer + 1) * D_MODEL].double()
        if one.W_skip is not None:
            out -= one.W_skip[layer].double() @ passes.frozen.mlp_in[layer][0, position]
        for other in graph.nodes:
            if other.kind == "feature" and other.position == position and other.layer <= layer:
                out -= other.activation * row(one, other.feature, layer).double()
    return {layer: out}


def test_what_is_no_transcoder_of_the_layer_is_refused() -> None:
    model = Model.wrap(tiny("llama"))
    one, others = clt(), random_transcoders(model)
    with pytest.raises(InputError, match="expected a transcoder from mlp_in"):
        trace(model, TOKENS, [crosscoder()])
    with pytest.raises(InputError, match="both stand at .*; expected one dictionary"):
        trace(model, TOKENS, [*others.values(), one])
