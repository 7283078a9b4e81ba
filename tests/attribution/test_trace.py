"""Tracing on tiny models: which nodes there are, which targets, which errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import VOCAB_SIZE, tiny, tiny_tokenizer

from inscape.attribution import Graph, Node, trace
from inscape.core import InputError, ModelError
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
    graph = trace(model, TOKENS, transcoders)
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
    graph = trace(model, TOKENS, random_transcoders(model))
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
    graph = trace(padded, tokens, random_transcoders(padded))
    assert [graph.nodes[t].feature for t in graph.targets] == named[:10].tolist()


def test_a_sure_answer_has_one_target(model: Model) -> None:
    sure = Model.wrap(tiny("llama"))
    sure.module.lm_head.weight.mul_(30)
    graph = trace(sure, TOKENS, random_transcoders(model))
    shares = [graph.nodes[t].probability or 0 for t in graph.targets]
    assert sum(shares[:-1]) < 0.95 <= sum(shares)


def test_a_difference_is_the_difference_of_its_edges(spoken: Model) -> None:
    transcoders = random_transcoders(spoken)
    prompt = " the cat sat on"
    right = trace(spoken, prompt, transcoders, target=" the")
    wrong = trace(spoken, prompt, transcoders, target=" dog")
    both = trace(spoken, prompt, transcoders, target=" the", against=" dog")
    assert len(both.targets) == 1
    rows = [dense(graph)[graph.targets[0]] for graph in (right, wrong, both)]
    np.testing.assert_allclose(rows[2], rows[0] - rows[1], atol=1e-4)
    assert both.nodes[-1].against_token == " dog"
    assert spoken.token_text(both.nodes[-1].feature) == " the"


def test_says_which_token_of_several_is_used(spoken: Model) -> None:
    graph = trace(spoken, " the cat", random_transcoders(spoken), target=" the Paris zebra")
    assert graph.notes == ["of ' the Paris zebra' the token ' the' is the target"]


def test_candidates_are_traced_at_their_first_token_that_differs() -> None:
    tokenizer = tiny_tokenizer(digits=True)
    model = Model.wrap(tiny("llama", vocab_size=300), tokenizer)
    transcoders = random_transcoders(model)
    graph = trace(model, "48+41=", transcoders, target=" 89", against=" 81")
    assert graph.prompt_tokens == ["<s>", *"48+41=", " ", "8"]
    (target,) = (graph.nodes[t] for t in graph.targets)
    assert (target.token, target.against_token, target.position) == ("9", "1", 8)
    assert graph.notes == ["' 8', with which ' 89' and ' 81' begin, was fed in behind the prompt"]
    alone = trace(model, "48+41=", transcoders, target=" 89")
    assert alone.nodes[-1].token == "8"
    assert alone.notes == [
        "' ', with which ' 89' begins, was fed in behind the prompt",
        "of ' 89' the token '8' is the target",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": " the"}, "without a target"),
        ({"target": " the", "against": " the cat"}, "' the cat' begins with ' the'"),
        ({"target": " the", "against": " the"}, "' the' is given twice"),
        ({"node_share": 0.0}, "node_share"),
        ({"edge_share": 1.5}, "edge_share"),
        ({"node_share": "a"}, "node_share of 'a'"),
        ({"edge_share": float("nan")}, "edge_share of nan"),
        ({"max_features": 0}, "max_features 0"),
        ({"max_features": 2.5}, "max_features 2.5"),
        ({"target": 5}, "found int in place of text"),
        ({"target": " the", "against": [" a"]}, "found list in place of text"),
    ],
)
def test_unusable_options(spoken: Model, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trace(spoken, " the cat", random_transcoders(spoken), **options)  # type: ignore[arg-type]


def test_prompts_that_do_not_fit(model: Model) -> None:
    for prompt in ([], [1] * 65, [1, VOCAB_SIZE], None, [None], [1.5], object()):
        with pytest.raises(InputError):
            trace(model, prompt, random_transcoders(model))  # type: ignore[arg-type]


def test_what_is_no_list_of_dictionaries_is_refused(model: Model) -> None:
    one = random_transcoders(model)[0]
    for wrong in (one, 5, {0: 5}, {0: None}, [None]):
        with pytest.raises(InputError, match="dictionar"):
            trace(model, TOKENS, wrong)  # type: ignore[arg-type]


def test_missing_transcoders_are_said(model: Model) -> None:
    transcoders = random_transcoders(model)
    graph = trace(model, TOKENS, {1: transcoders[1]})
    assert graph.notes[0] == "no transcoder at layers 0, 2: there the MLP is read as its neurons"
    assert trace(model, TOKENS, transcoders).notes == []


def test_logits_before_a_soft_cap_are_said_to_be() -> None:
    capped = Model.wrap(tiny("gemma2"))
    graph = trace(capped, TOKENS, random_transcoders(capped))
    assert graph.notes == [
        "this model soft-caps its logits at 3: values and edges are of the logits before that, "
        "probabilities of those after it"
    ]
    logits = capped.run(torch.tensor([TOKENS]), logits="last").logits[0, -1]
    node = graph.nodes[graph.targets[0]]
    assert node.probability == pytest.approx(float(logits.softmax(-1)[node.feature]), rel=1e-4)
    before = capped.run(torch.tensor([TOKENS]), read=["final"])["final"][0, -1]
    value = before @ (capped.unembedding()[node.feature] - capped.unembedding().mean(0))
    assert node.activation == pytest.approx(float(value), rel=1e-4)


def test_logits_that_are_not_finite_are_said(model: Model) -> None:
    broken = Model.wrap(tiny("llama"))
    broken.structure.final_norm.weight[3] = float("nan")
    with pytest.raises(ModelError, match="the activations of this model are not finite"):
        trace(broken, TOKENS, random_transcoders(model))


def test_a_model_on_several_devices_is_refused(model: Model) -> None:
    spread = Model.wrap(tiny("llama"))
    spread.structure.blocks[2].module.to("meta")
    with pytest.raises(InputError, match=r"several devices \(cpu, meta\)"):
        trace(spread, TOKENS, random_transcoders(model))


def test_only_positions_that_count_have_features() -> None:
    module = tiny("llama")
    module.get_input_embeddings().weight[40] *= 300  # an attention sink
    loud = Model.wrap(module)
    graph = trace(loud, [7, 1, 40, 9], random_transcoders(loud))
    assert {n.position for n in graph.nodes if n.kind == "feature"} == {0, 3}
    assert graph.counted == [True, False, False, True]


def test_a_bias_that_the_encoder_subtracts_is_no_input(model: Model) -> None:
    made = random_dictionary("mlp_in.1", "mlp_out.1", d=model.d_model, subtract=True)
    graph = trace(model, TOKENS, {1: made})
    x = model.run(torch.tensor([TOKENS]), read=["mlp_in.1"])["mlp_in.1"][0]
    number, node = next((i, n) for i, n in enumerate(graph.nodes) if n.dictionary and n.layer == 1)
    total = node.bias + sum(weight for _, weight in graph.inputs(number))
    wanted = (x[node.position] - made.b_dec) @ made.W_enc[node.feature] + made.b_enc[node.feature]
    assert total == pytest.approx(float(wanted), rel=1e-3, abs=1e-4)


def test_labels_are_looked_up_when_a_graph_is_shown(model: Model) -> None:
    labels: dict[tuple[str, int], str] = {}

    def names(name: str, feature: int) -> str | None:
        return labels.get((name, feature))

    graph = trace(model, TOKENS, random_transcoders(model), names=names)
    node = next(n for n in graph.pruned().nodes if n.kind == "feature")
    assert graph.label(node) is None
    labels[node.dictionary or "", node.feature] = "cats"
    assert graph.label(node) == "cats"
    assert graph.title(node).startswith(f"cats [{node.dictionary}/{node.feature}] ")
    assert "cats" in {n["clerp"] for n in graph.to_viewer()["nodes"]}
    assert "cats [" in graph.summary(1000)
    again = Graph.from_json(graph.to_json())
    assert "cats" not in str(graph.to_json())
    again.names = lambda name, feature: "dogs"
    assert again.label(node) == "dogs"


def test_a_chat_is_traced_with_its_roles() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"
    model = Model.wrap(tiny("llama", vocab_size=300), tokenizer)
    graph = trace(model, [{"role": "user", "content": "the cat"}], random_transcoders(model))
    assert graph.roles == [None, "user", "user", None]
    assert graph.prompt_tokens == ["<s>", "the", " cat", "</s>"]
    features = [n for n in graph.nodes if n.kind == "feature"]
    assert {n.position for n in features} == {1, 2}
    assert graph.title(features[0]).endswith("(user)")
    assert Graph.from_json(graph.to_json()).roles == graph.roles


def test_a_budget_leaves_the_edges_of_its_nodes_as_they_are(model: Model) -> None:
    transcoders = random_transcoders(model)
    whole = trace(model, TOKENS, transcoders)
    part = trace(model, TOKENS, transcoders, max_features=20)
    place = {_place(node): n for n, node in enumerate(whole.nodes)}
    same = [n for n, node in enumerate(part.nodes) if node.kind != "rest"]
    there = [place[_place(part.nodes[n])] for n in same]
    edges, all_edges = dense(part)[np.ix_(same, same)], dense(whole)[np.ix_(there, there)]
    np.testing.assert_allclose(edges, all_edges, atol=1e-6)
    rest = [n for n, node in enumerate(part.nodes) if node.kind == "rest"]
    others = np.setdiff1d(np.arange(len(whole.nodes)), there)
    left_out = dense(whole)[np.ix_(there, others)].sum(1)
    np.testing.assert_allclose(dense(part)[np.ix_(same, rest)].sum(1), left_out, atol=1e-5)
    assert "20 of" in part.notes[0]
    assert 0 < part.scores.unknown < 1
    assert whole.scores.unknown == 0
    assert f"unknown {part.scores.unknown:.2f}" in part.summary()


def _place(node: Node) -> tuple[object, ...]:
    return node.kind, node.layer, node.position, node.feature


def test_later_positions_and_lower_layers_do_not_reach_back(model: Model) -> None:
    graph = trace(model, TOKENS, random_transcoders(model))
    for s, t in zip(graph.edges.source, graph.edges.target, strict=True):
        source, target = graph.nodes[s], graph.nodes[t]
        assert source.position <= target.position
        if source.kind != "embedding" and target.kind == "feature":
            assert (source.layer or 0) < (target.layer or 0)


def test_the_model_is_left_as_it_was(model: Model) -> None:
    tokens = torch.tensor([TOKENS])
    before = model.run(tokens, logits="all").logits
    trace(model, TOKENS, random_transcoders(model))
    after = model.run(tokens, logits="all").logits
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)
    assert not any(m._forward_hooks for m in model.module.modules())
