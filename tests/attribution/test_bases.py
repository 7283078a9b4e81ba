"""Graphs of neurons, of features of the stream, and of both with transcoders: every edge against
an intervention, whatever is left out counted."""

from __future__ import annotations

import numpy as np
import pytest
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import TINY_FAMILIES, tiny, tiny_tokenizer

from inscape.attribution import Graph, paths, trace
from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.validation import check_edges


def kinds(graph: Graph) -> dict[str, int]:
    names = [node.kind for node in graph.nodes]
    return {name: names.count(name) for name in set(names)}


def stream(model: Model, layer: int, **options: object) -> Dictionary:
    site = f"resid_post.{layer}"
    return random_dictionary(site, site, d=model.d_model, seed=layer, **options)  # type: ignore[arg-type]


def exact(model: Model, dictionaries: object, graph: Graph) -> None:
    check = check_edges(model, dictionaries, graph)  # type: ignore[arg-type]
    assert check.max_error <= 1e-4
    assert check.bias_error is not None
    assert check.bias_error <= 1e-4


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_neurons_of_every_family(family: str) -> None:
    model = Model.wrap(tiny(family))
    graph = trace(model, TOKENS, max_features=40)
    assert kinds(graph)["feature"] == 40
    assert {node.dictionary for node in graph.nodes if node.kind == "feature"} <= {
        f"mlp_act.{layer}" for layer in range(model.num_layers)
    }
    assert graph.scores.unknown > 0
    exact(model, [], graph)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "olmo2"])
def test_a_dictionary_of_the_stream_between_neurons(family: str) -> None:
    model = Model.wrap(tiny(family))
    one = stream(model, 1)
    graph = trace(model, TOKENS, [one], max_features=60)
    named = [n for n, node in enumerate(graph.nodes) if node.dictionary == one.name]
    assert len(named) > 3
    later = [n for n, node in enumerate(graph.nodes) if node.dictionary == "mlp_act.2"]
    ends = set(zip(graph.edges.source.tolist(), graph.edges.target.tolist(), strict=True))
    assert any(target in named for _, target in ends)
    assert any(source in named and target in later for source, target in ends)
    exact(model, [one], graph)


def test_all_three_at_once() -> None:
    model = Model.wrap(tiny("llama"))
    transcoders = random_transcoders(model)
    given = [transcoders[0], transcoders[2], stream(model, 0), stream(model, 1, kind="threshold")]
    graph = trace(model, TOKENS, given, max_features=80)
    names = {node.dictionary for node in graph.nodes if node.kind == "feature"}
    assert names == {"mlp_out.0-random", "mlp_out.2-random", "mlp_act.1", "resid_post.0-random",
                     "resid_post.1-random"}  # fmt: skip
    assert any("layer 1: there the MLP is read as its neurons" in note for note in graph.notes)
    exact(model, given, graph)
    read = Graph.from_json(graph.to_json())
    assert check_edges(model, given, read).max_error <= 1e-4


@pytest.mark.parametrize("skip", [False, True])
def test_a_budget_of_transcoder_features(skip: bool) -> None:
    model = Model.wrap(tiny("llama"))
    transcoders = random_transcoders(model, skip=skip)
    whole = trace(model, TOKENS, transcoders)
    part = trace(model, TOKENS, transcoders, max_features=20)
    assert kinds(part)["feature"] == 20
    assert kinds(part)["rest"] > 0
    assert "rest" not in kinds(whole)
    assert whole.scores.unknown == 0 < part.scores.unknown
    exact(model, transcoders, part)


def test_the_best_are_chosen() -> None:
    """The nodes of a small budget are those of the whole graph with the largest effect on the
    target, over all paths or in the model as it is."""
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)
    transcoders = random_transcoders(model)
    whole = trace(model, " the cat sat", transcoders, target=" on", against=" dog")
    part = trace(model, " the cat sat", transcoders, target=" on", against=" dog", max_features=9)
    count = len(whole.nodes)
    gain = np.zeros((count, count))
    values = np.array([node.activation for node in whole.nodes])
    gain[whole.edges.target, whole.edges.source] = whole.edges.weight
    is_feature = np.array([node.kind == "feature" for node in whole.nodes])
    through = gain / np.where(values == 0, 1, values)[None, :]
    through[:, ~is_feature] = 0
    effect = np.zeros(count)
    carried = through[whole.targets[0]]
    for _ in range(model.num_layers + 1):
        effect += carried
        carried = carried @ through
    moving = np.array([node.effect or 0.0 for node in whole.nodes])
    size = np.maximum(np.abs(effect * values), np.abs(moving))
    best = sorted(np.flatnonzero(is_feature), key=lambda n: -size[n])[:9]
    places = {(n.layer, n.position, n.feature) for n in part.nodes if n.kind == "feature"}
    assert places == {
        (whole.nodes[n].layer, whole.nodes[n].position, whole.nodes[n].feature) for n in best
    }


def test_paths_lead_through_all_of_them() -> None:
    model = Model.wrap(tiny("llama"))
    graph = trace(model, TOKENS, [stream(model, 1)], max_features=60)
    found = paths(graph, num_paths=40)
    assert found
    assert all(graph.nodes[path.nodes[0]].kind == "embedding" for path in found)


def test_what_is_no_basis_is_refused() -> None:
    model = Model.wrap(tiny("llama"))
    odd = random_dictionary("attn_out.1", "attn_out.1", d=32)
    with pytest.raises(InputError, match="attn_out.1.*expected a transcoder"):
        trace(model, TOKENS, [odd])
    with pytest.raises(InputError, match="both stand at resid_post.1"):
        trace(model, TOKENS, [stream(model, 1), stream(model, 1)])
    with pytest.raises(InputError, match="of width 16; expected width 32"):
        trace(model, TOKENS, [random_dictionary("resid_post.1", "resid_post.1", d=16)])
    with pytest.raises(InputError, match="is of layer 7"):
        trace(model, TOKENS, [random_dictionary("mlp_in.7", "mlp_out.7", d=32)])


def test_a_mixture_of_experts_counts_as_error() -> None:
    model = Model.wrap(tiny("mixtral"))
    graph = trace(model, TOKENS)
    assert kinds(graph).get("feature", 0) == 0
    assert any("no neurons" in note and "error" in note for note in graph.notes)
    exact(model, [], graph)
