"""What unnamed features promote, in words."""

from __future__ import annotations

import pytest
from tests.attribution.random_transcoders import TOKENS, random_transcoders
from tests.families import tiny, tiny_tokenizer

from inscape.attribution import Graph, trace, trajectory
from inscape.core import quoted
from inscape.model import Model


@pytest.mark.parametrize("which", ["neurons", "transcoders"])
def test_a_hint_names_the_tokens_that_are_raised_most(which: str) -> None:
    model = Model.wrap(tiny("llama"), tiny_tokenizer())
    made = random_transcoders(model) if which == "transcoders" else {}
    graph = trace(model, TOKENS, made, max_features=60, verified=0)
    features = [node for node in graph.nodes if node.kind == "feature"]
    upper = [node for node in features if (node.layer or 0) >= model.num_layers // 2]
    assert all(not node.hint for node in features if node not in upper)
    assert any(node.hint for node in upper)
    final = model.run(model.prompt(TOKENS), read=["final"])["final"][0]
    for node in upper[:10]:
        if which == "neurons":
            down = model.structure.blocks[node.layer or 0].places["mlp_act"].module.weight
            width = down.shape[1]
            row = (1 if node.feature < width else -1) * down[:, node.feature % width].detach()
        else:
            row = made[node.layer or 0].W_dec[node.feature]
        raised = model.unembedding() @ (row * model.final_norm_weight())
        known = model.vocabulary_mask
        likely = model.unembed(final[node.position]).masked_fill(~known, -1e9)
        tokens = likely.topk(min(100, int(known.sum()))).indices.tolist()
        best = sorted(tokens, key=lambda t: -float(raised[t]))[:3]
        assert node.hint == f"promotes {', '.join(quoted(model.token_text(t)) for t in best)}"


def test_a_label_comes_first_and_hints_are_kept() -> None:
    model = Model.wrap(tiny("llama"), tiny_tokenizer())
    plain = trace(model, TOKENS, max_features=60, verified=0)
    number, node = next((n, one) for n, one in enumerate(plain.nodes) if one.hint)
    assert plain.title(node).startswith(f"{node.hint} [{node.dictionary}/{node.feature}] ")

    def names(dictionary: str, feature: int) -> str | None:
        same = (dictionary, feature) == (node.dictionary, node.feature)
        return "a name" if same else None

    named = trace(model, TOKENS, max_features=60, verified=0, names=names)
    assert named.nodes[number].hint == ""
    assert named.title(named.nodes[number]).startswith("a name [")
    kept = [one.hint for one in plain.pruned().nodes]
    assert [one.hint for one in Graph.from_json(plain.to_json()).nodes] == kept
    old = plain.to_json()
    for one in old["nodes"]:
        del one["hint"]
    assert not any(one.hint for one in Graph.from_json(old).nodes)


def test_a_trajectory_has_them_too() -> None:
    model = Model.wrap(tiny("llama"), tiny_tokenizer())
    found = trajectory(model, TOKENS, max_new_tokens=2, nodes=10)
    assert any(node.hint for node in found.nodes)
