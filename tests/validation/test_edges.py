"""Every edge of a traced graph against interventions by plain hooks."""

from __future__ import annotations

import numpy as np
import pytest
from tests.attribution.random_transcoders import TOKENS, random_transcoders
from tests.families import tiny, tiny_tokenizer
from tests.intervention.test_several import clt

from inscape.attribution import Edges, Graph, trace
from inscape.core import InputError, ModelError
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.validation import check_edges


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "mixtral"])
def test_every_edge_is_what_an_intervention_measures(family: str) -> None:
    model = Model.wrap(tiny(family))
    transcoders = random_transcoders(model)
    graph = trace(model, TOKENS, transcoders)
    check = check_edges(model, transcoders, graph)
    sources = sum(node.kind != "logit" for node in graph.nodes)
    assert check.num_edges == check.num_targets * sources
    assert check.num_targets > 50
    assert check.max_error <= 1e-4
    assert check.bias_error is not None
    assert check.bias_error <= 1e-4


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize(("kind", "skip"), [("threshold", False), ("topk", True)])
def test_thresholds_and_skips_are_followed(family: str, kind: str, skip: bool) -> None:
    model = Model.wrap(tiny(family))
    transcoders = random_transcoders(model, kind=kind, skip=skip)
    graph = trace(model, TOKENS, transcoders)
    assert sum(node.kind == "feature" for node in graph.nodes) > 20
    check = check_edges(model, transcoders, graph)
    assert check.max_error <= 1e-4
    assert check.bias_error is not None
    assert check.bias_error <= 1e-4
    if skip:  # an edge through a skip is not the edge without it
        without = {
            i: Dictionary(d.config.model_copy(update={"skip": False}), d.weights, name=d.name)
            for i, d in transcoders.items()
        }
        assert check_edges(model, without, graph).max_error > 1e-2


def test_a_difference_and_a_missing_transcoder() -> None:
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)
    transcoders = random_transcoders(model)
    del transcoders[0]
    graph = trace(model, " the cat sat", transcoders, target=" on", against=" Paris")
    assert graph.nodes[graph.targets[0]].against is not None
    check = check_edges(model, transcoders, graph)
    assert check.max_error <= 1e-4
    assert check.bias_error is not None
    assert check.bias_error <= 1e-4


@pytest.fixture(scope="module")
def traced() -> tuple[Model, dict, Graph]:  # type: ignore[type-arg]
    model = Model.wrap(tiny("gpt2"))
    transcoders = random_transcoders(model)
    return model, transcoders, trace(model, TOKENS, transcoders)


def test_a_wrong_edge_is_found(traced) -> None:  # type: ignore[no-untyped-def]
    model, transcoders, graph = traced
    number = int(np.abs(graph.edges.weight).argmax())
    weight = graph.edges.weight.copy()
    weight[number] *= 1.01
    edges = Edges(graph.edges.source, graph.edges.target, weight)
    check = check_edges(model, transcoders, Graph(**{**vars(graph), "edges": edges}))
    assert check.max_error == pytest.approx(0.01, rel=0.1)
    assert check.worst[:2] == (graph.edges.source[number], graph.edges.target[number])


def test_a_left_out_edge_is_found(traced) -> None:  # type: ignore[no-untyped-def]
    model, transcoders, graph = traced
    target = graph.targets[0]
    strongest = graph.inputs(target)[0][0]
    keep = ~((graph.edges.target == target) & (graph.edges.source == strongest))
    less = Graph(
        **{**vars(graph), "edges": graph.edges.select(keep), "kept_edges": graph.kept_edges[keep]}
    )
    less.num_edges_full -= 1
    assert check_edges(model, transcoders, less).max_error == pytest.approx(1.0, rel=1e-3)


def test_pruned_graphs_and_samples(traced) -> None:  # type: ignore[no-untyped-def]
    model, transcoders, graph = traced
    pruned = Graph.from_json(graph.to_json())
    check = check_edges(model, transcoders, pruned)
    assert check.num_edges == len(pruned.edges)
    assert check.max_error <= 1e-4
    assert check.bias_error is None
    sample = check_edges(model, transcoders, graph, num_edges=5, seed=3)
    assert 1 <= sample.num_targets <= 5
    assert sample.max_error <= 1e-4
    assert sample == check_edges(model, transcoders, graph, num_edges=5, seed=3)


def test_other_weights_are_noticed(traced) -> None:  # type: ignore[no-untyped-def]
    _, transcoders, graph = traced
    other = Model.wrap(tiny("gpt2", seed=9))
    with pytest.raises(InputError, match="active features"):
        check_edges(other, transcoders, graph)


def test_a_family_that_nobody_has_named_is_checked_too() -> None:
    """The check had a list of families of its own."""
    module = tiny("gpt2")
    module.config.model_type = "gpt9"
    model = Model.wrap(module)
    transcoders = random_transcoders(model)
    check = check_edges(model, transcoders, trace(model, TOKENS, transcoders))
    assert check.max_error <= 1e-4


def test_the_model_is_untouched(traced) -> None:  # type: ignore[no-untyped-def]
    model, transcoders, graph = traced
    implementation = model.module.config._attn_implementation
    check_edges(model, transcoders, graph, num_edges=1)
    assert model.module.config._attn_implementation == implementation
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"site_in": "resid_mid.0+resid_mid.1+resid_mid.2"}, "is a cross-layer transcoder"),
        ({}, "is a cross-layer transcoder"),
    ],
)
def test_a_cross_layer_transcoder_is_refused_in_one_line(
    changes: dict[str, str], message: str
) -> None:
    model = Model.wrap(tiny("llama"))
    transcoders = dict.fromkeys(range(model.num_layers), clt(**changes))
    graph = trace(model, TOKENS, transcoders)
    with pytest.raises(InputError, match=f"{message}.*; expected a plain transcoder") as error:
        check_edges(model, transcoders, graph)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"site_in": "resid_mid.1"}, "reads the stream before the norm"),
        ({"subtract_b_dec": True}, "subtracts its decoder bias"),
        ({"signed": True}, "chooses signed"),
    ],
)
def test_transcoders_that_the_check_would_misread_are_refused(
    traced, changes: dict[str, object], message: str
) -> None:  # type: ignore[no-untyped-def]
    model, transcoders, graph = traced
    one = transcoders[1]
    odd = Dictionary(one.config.model_copy(update=changes), one.weights, name="odd")
    with pytest.raises(InputError, match=f"odd {message}"):
        check_edges(model, {**transcoders, 1: odd}, graph)


def test_weights_that_are_not_finite_end_in_one_line(traced) -> None:  # type: ignore[no-untyped-def]
    model, transcoders, graph = traced
    broken = {i: d.to("cpu") for i, d in transcoders.items()}
    broken[1].W_dec[:] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        check_edges(model, broken, graph)
