"""The strongest edges between features against the model as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import tiny

from inscape.attribution import Edges, Graph, score_graphs, trace
from inscape.attribution.bases import find_bases
from inscape.attribution.effects import Removals, removals_of
from inscape.attribution.links import verify_links
from inscape.attribution.ranking import Linear, choose
from inscape.attribution.sources import Sources, lay_out, read
from inscape.dictionary import Dictionary
from inscape.model import Model

STEP = 1e-3


def made(model: Model, which: str) -> list[Dictionary]:
    site = "resid_post.0"
    if which == "stream":
        return [random_dictionary(site, site, d=model.d_model)]
    return list(random_transcoders(model).values()) if which == "transcoders" else []


def laid(model: Model, which: str, heads: bool) -> tuple[Sources, Linear]:
    bases, _ = find_bases(model, made(model, which), heads)
    reading = read(model, bases, model.prompt(TOKENS))
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    goal = Linear(len(TOKENS) - 1, vector, 1.0)
    return lay_out(reading, choose(reading, [goal], 60)), goal


@pytest.mark.parametrize("which", ["neurons", "transcoders", "stream", "heads"])
def test_predicted_is_the_slope_and_measured_the_loss(which: str) -> None:
    model = Model.wrap(tiny("llama"))
    sources, goal = laid(model, which, which == "heads")
    last = max(n for n, part in enumerate(sources.features) if part.num)
    target = sources.starts[last] + sources.features[last].num - 1
    reading = sources.reading
    every = removals_of(sources)
    early = [n for n in range(sources.starts[last]) if every[n].value > 0.05][:6]
    assert early
    edges = Edges(
        np.array(early, dtype=np.int32),
        np.full(len(early), target, dtype=np.int32),
        np.ones(len(early), dtype=np.float32),
    )
    found = verify_links(sources, edges, [goal])
    row = reading.encoders(last, sources.features[last])[-1]
    site, position = reading.bases[last].read, int(sources.features[last].position[-1])
    removals = Removals(reading, [goal])
    place = [(site, position, row)]
    for one in found:
        source = every[one.source]
        gone = float(removals.read_less([[source]], place)[0, 0])
        assert one.measured == pytest.approx(gone, abs=1e-6)
        part = source.value * (1 - STEP)
        basis = reading.bases[source.basis]
        if basis.kind == "heads":
            x = reading.inputs[basis.read][source.position].reshape(
                model.num_heads(basis.layer), -1
            )
            less = replace(source, to=(1 - STEP) * x[source.feature])
        else:
            less = replace(source, to=part)
        slope = float(removals.read_less([[less]], place)[0, 0]) / STEP
        assert one.predicted == pytest.approx(slope, abs=0.02 * max(abs(slope), 0.02))
        assert len(one.controls) == 3
        most = max(map(abs, one.controls))
        same = one.measured * one.predicted > 0
        assert one.holds == (same and abs(one.measured) > most)
    assert any(abs(one.measured) > 1e-3 for one in found)


def test_a_graph_says_which_edges_hold() -> None:
    model = Model.wrap(tiny("llama"))
    graph = trace(model, TOKENS, max_features=60)
    assert graph.links
    kinds = {graph.nodes[n].kind for one in graph.links for n in (one.source, one.target)}
    assert kinds == {"feature"}
    assert all(graph.kept_nodes[one.source] for one in graph.links)
    weights = {
        (int(s), int(t)): float(w) for s, t, w in zip(*vars(graph.edges).values(), strict=True)
    }
    assert all(weights[one.source, one.target] == one.weight for one in graph.links)
    held = sum(one.holds for one in graph.links)
    assert f"{held} of {len(graph.links)} hold" in graph.summary()
    again = Graph.from_json(graph.to_json())
    assert [one.measured for one in again.links] == [one.measured for one in graph.links]
    shown = Graph.from_viewer(graph.to_viewer())
    titles = [[g.title(g.nodes[one.source]) for one in g.links] for g in (graph, again, shown)]
    assert titles[0] == titles[1] == titles[2]
    assert trace(model, TOKENS, max_features=60, verified=0).links == []


def test_over_prompts() -> None:
    scores = score_graphs(Model.wrap(tiny("llama")), [TOKENS, TOKENS[:6]], max_features=40)
    assert scores.links is not None
    assert 0 <= scores.links.low <= scores.links.value <= scores.links.high <= 1
    assert "strongest edges between features that hold" in scores.summary()
