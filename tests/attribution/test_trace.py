"""Tracing on tiny models: which nodes there are, which targets, which errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import VOCAB_SIZE, tiny, tiny_tokenizer

from inscape.attribution import Graph, trace
from inscape.core import InputError
from inscape.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"))


@pytest.fixture(scope="module")
def spoken() -> Model:
    tokenizer = tiny_tokenizer()
    return Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)


def dense(graph: Graph) -> np.ndarray:
    matrix = np.zeros((len(graph.nodes), len(graph.nodes)))
    matrix[graph.edges.target, graph.edges.source] = graph.edges.weight
    return matrix


def test_nodes_are_what_is_active(model: Model) -> None:
    transcoders = random_transcoders(model)
    graph = trace(model, transcoders, TOKENS)
    tokens = torch.tensor([TOKENS])
    run = model.run(tokens, read=["mlp_in.1", "mlp_out.1"], logits="last")
    code = transcoders[1].encode(run["mlp_in.1"][0])
    there = {
        (n.position, n.feature): n.activation
        for n in graph.nodes
        if n.kind == "feature" and n.layer == 1
    }
    wanted = {
        (p, int(f)): float(v)
        for p in range(1, len(TOKENS))  # none at the beginning-of-text token
        for f, v in zip(code.indices[p], code.values[p], strict=True)
        if v > 0
    }
    assert there == pytest.approx(wanted)
    error = run["mlp_out.1"][0] - transcoders[1](run["mlp_in.1"])[0]
    error[0] = run["mlp_out.1"][0, 0]
    norms = [n.activation for n in graph.nodes if n.kind == "error" and n.layer == 1]
    assert norms == pytest.approx(error.norm(dim=-1).tolist(), rel=1e-4)
    tokens_there = [n.feature for n in graph.nodes if n.kind == "embedding"]
    assert tokens_there == TOKENS  # the beginning-of-text token too


def test_targets_are_the_likeliest_tokens(model: Model) -> None:
    graph = trace(model, random_transcoders(model), TOKENS)
    logits = model.run(torch.tensor([TOKENS]), logits="last").logits
    assert logits is not None
    probabilities = torch.softmax(logits[0, -1], -1)
    order = probabilities.argsort(descending=True)[:10].tolist()
    assert [graph.nodes[t].feature for t in graph.targets] == order
    for t in graph.targets:
        node = graph.nodes[t]
        assert node.probability == pytest.approx(float(probabilities[node.feature]), rel=1e-4)
        value = float(logits[0, -1, node.feature] - logits[0, -1].mean())
        assert node.activation == pytest.approx(value, abs=1e-4)


def test_ids_that_the_tokenizer_lacks_are_no_targets() -> None:
    tokenizer = tiny_tokenizer()
    padded = Model.wrap(tiny("llama", vocab_size=400), tokenizer)
    tokens = tokenizer.encode("the cat sat on the mat")
    logits = padded.run(torch.tensor([tokens]), logits="last").logits
    assert logits is not None
    order = logits[0, -1].argsort(descending=True)
    named = order[order < len(tokenizer)]
    assert order[:10].tolist() != named[:10].tolist()
    graph = trace(padded, random_transcoders(padded), tokens)
    assert [graph.nodes[t].feature for t in graph.targets] == named[:10].tolist()


def test_a_sure_answer_has_one_target(model: Model) -> None:
    sure = Model.wrap(tiny("llama"))
    sure.module.lm_head.weight.mul_(30)
    graph = trace(sure, random_transcoders(model), TOKENS)
    shares = [graph.nodes[t].probability or 0 for t in graph.targets]
    assert sum(shares[:-1]) < 0.95 <= sum(shares)


def test_a_difference_is_the_difference_of_its_edges(spoken: Model) -> None:
    transcoders = random_transcoders(spoken)
    prompt = " the cat sat on"
    right = trace(spoken, transcoders, prompt, target=" the")
    wrong = trace(spoken, transcoders, prompt, target=" dog")
    both = trace(spoken, transcoders, prompt, target=" the", against=" dog")
    assert len(both.targets) == 1
    rows = [dense(graph)[graph.targets[0]] for graph in (right, wrong, both)]
    np.testing.assert_allclose(rows[2], rows[0] - rows[1], atol=1e-4)
    assert both.nodes[-1].against_token == " dog"
    assert spoken.token_text(both.nodes[-1].feature) == " the"


def test_says_which_token_of_several_is_used(spoken: Model) -> None:
    graph = trace(spoken, random_transcoders(spoken), " the cat", target=" the Paris zebra")
    assert graph.notes == ["of ' the Paris zebra' only the first token ' the' is used"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": " the"}, "without a target"),
        ({"target": " the", "against": " the cat"}, "same token"),
        ({"node_share": 0.0}, "node_share"),
        ({"edge_share": 1.5}, "edge_share"),
        ({"max_features": 0}, "max_features"),
    ],
)
def test_unusable_options(spoken: Model, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trace(spoken, random_transcoders(spoken), " the cat", **options)  # type: ignore[arg-type]


def test_a_dictionary_of_another_site_is_refused(model: Model) -> None:
    wrong = random_dictionary("resid_post.1", "resid_post.1", d=model.d_model)
    with pytest.raises(InputError, match="mlp_in.1"):
        trace(model, {1: wrong}, TOKENS)
    with pytest.raises(InputError, match="mlp_in.2"):
        trace(model, {2: random_transcoders(model)[0]}, TOKENS)


def test_prompts_that_do_not_fit(model: Model) -> None:
    for prompt in ([], [1] * 65, [1, VOCAB_SIZE]):
        with pytest.raises(InputError):
            trace(model, random_transcoders(model), prompt)


def test_a_layer_without_transcoder_is_all_error(model: Model) -> None:
    transcoders = random_transcoders(model)
    del transcoders[1]
    graph = trace(model, transcoders, TOKENS)
    assert not [n for n in graph.nodes if n.kind == "feature" and n.layer == 1]
    written = model.run(torch.tensor([TOKENS]), read=["mlp_out.1"])["mlp_out.1"][0]
    norms = [n.activation for n in graph.nodes if n.kind == "error" and n.layer == 1]
    assert norms == pytest.approx(written.norm(dim=-1).tolist(), rel=1e-5)


def test_no_transcoder_at_all_still_traces_tokens(model: Model) -> None:
    graph = trace(model, {}, TOKENS)
    assert {n.kind for n in graph.nodes} == {"error", "embedding", "logit"}
    assert len(graph.edges) > 0


def test_names_are_passed_in(model: Model) -> None:
    def names(name: str, feature: int) -> str | None:
        return f"{name}#{feature}" if feature % 2 else None

    graph = trace(model, random_transcoders(model), TOKENS, names=names)
    features = [n for n in graph.nodes if n.kind == "feature"]
    assert {n.label for n in features if not n.feature % 2} == {None}
    assert all(n.label == f"{n.dictionary}#{n.feature}" for n in features if n.feature % 2)


def test_few_rows_are_the_influential_ones_of_the_whole(model: Model) -> None:
    transcoders = random_transcoders(model)
    whole = trace(model, transcoders, TOKENS)
    part = trace(model, transcoders, TOKENS, max_features=20)
    targets = np.unique(part.edges.target)
    features = [t for t in targets if part.nodes[t].kind == "feature"]
    assert len(features) == 20
    np.testing.assert_allclose(dense(part)[targets], dense(whole)[targets], atol=1e-6)
    kept = [i for i in np.flatnonzero(part.kept_nodes) if part.nodes[i].kind == "feature"]
    assert kept
    assert set(kept) <= set(features)
    assert "20 most influential" in part.notes[0]
    influences = np.array([n.influence for n in whole.nodes[: features[-1] + 1]])
    others = np.setdiff1d(np.arange(len(influences)), features)
    assert influences[features].mean() > 2 * influences[others].mean()


def test_later_positions_and_lower_layers_do_not_reach_back(model: Model) -> None:
    graph = trace(model, random_transcoders(model), TOKENS)
    for s, t in zip(graph.edges.source, graph.edges.target, strict=True):
        source, target = graph.nodes[s], graph.nodes[t]
        assert source.position <= target.position
        if source.kind != "embedding" and target.kind == "feature":
            assert (source.layer or 0) < (target.layer or 0)


def test_the_model_is_left_as_it_was(model: Model) -> None:
    tokens = torch.tensor([TOKENS])
    before = model.run(tokens, logits="all").logits
    trace(model, random_transcoders(model), TOKENS)
    after = model.run(tokens, logits="all").logits
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)
    assert not any(m._forward_hooks for m in model.module.modules())
