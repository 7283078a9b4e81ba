"""Edges split by head, and scores of attention split by pairs of nodes: both add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import TINY_FAMILIES, tiny

from inscape.attribution import Graph, trace
from inscape.attribution.attention import HeadSplit, explain_attention, source_nodes
from inscape.attribution.bases import find_bases
from inscape.attribution.jacobian import Rows
from inscape.attribution.ranking import Linear, choose
from inscape.attribution.sources import Sources, lay_out, read
from inscape.core import InputError, ModelError
from inscape.dictionary import Dictionary
from inscape.model import Model

SOFT_CAP = ["gemma2"]


def sources_of(model: Model, dictionaries: list[Dictionary], num: int = 40) -> Sources:
    bases, _ = find_bases(model, dictionaries)
    reading = read(model, bases, model.prompt(TOKENS))
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    return lay_out(reading, choose(reading, [Linear(len(TOKENS) - 1, vector, 1.0)], num))


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_every_edge_is_the_sum_over_heads(family: str) -> None:
    model = Model.wrap(tiny(family))
    site = "resid_post.1"
    sources = sources_of(model, [random_dictionary(site, site, d=model.d_model)])
    rows, split = Rows(sources, 8), HeadSplit(sources)
    vectors = torch.randn(5, model.d_model, generator=torch.Generator().manual_seed(1))
    position = torch.tensor([6, 6, 5, 2, 0])
    edges = rows.logits(position, vectors)
    parts = split("final", position, vectors)
    assert parts.shape == (5, 1 + 4 * model.num_layers, sources.num_nodes)
    scale = edges.abs().amax(1, keepdim=True)
    assert float(((parts.sum(1) - edges) / scale).abs().max()) <= 1e-5
    through = parts[:3, 1:].abs().sum((0, 2))
    assert bool((through > 0).all())  # each head of each layer carries something
    before = torch.tensor([node.position < 6 for node in source_nodes(sources)])
    assert float(parts[0, 0, before].abs().max()) == 0  # nothing goes directly to another position


@pytest.mark.parametrize("family", ["gpt2", "llama", "olmo2"])
def test_a_route_is_what_is_lost_without_its_head(family: str) -> None:
    """What tokens send through a head of the first layer is what their edges lose where that head
    passes nothing on."""
    model = Model.wrap(tiny(family))
    sources = sources_of(model, [])
    position, vectors = torch.tensor([6]), torch.ones(1, model.d_model)
    split = HeadSplit(sources)
    parts, whole = split("final", position, vectors)[0], Rows(sources, 1).logits(position, vectors)
    width = model.width("attn_head.0") // 4

    def cut(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        heads = list(args[0].split(width, -1))
        heads[2] = heads[2].detach()
        return torch.cat(heads, -1), *args[1:]

    hook = model.structure.blocks[0].places["attn_head"].module.register_forward_pre_hook(cut)
    try:
        without = Rows(sources, 1).logits(position, vectors)
    finally:
        hook.remove()
    lost = (whole - without)[0, -len(TOKENS) :]
    route = int(torch.nonzero((split.layers == 0) & (split.heads == 2)))
    assert float(lost.abs().max()) > 1e-3
    torch.testing.assert_close(parts[route, -len(TOKENS) :], lost, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", [f for f in TINY_FAMILIES if f not in SOFT_CAP])
def test_a_score_is_the_sum_over_pairs(family: str) -> None:
    model = Model.wrap(tiny(family))
    site = "resid_post.0"
    one = random_dictionary(site, site, d=model.d_model)
    found = explain_attention(model, TOKENS, [one], layer=1, head=3, query=5, key=2)
    scores = _scores(model, 1)
    assert found.score == pytest.approx(float(scores[3, 5, 2]), rel=1e-4, abs=1e-5)
    total = sum(pair.value for pair in found.pairs) + found.rest
    assert total == pytest.approx(found.score, rel=1e-5, abs=1e-6)
    assert 0 < found.weight < 1
    versus = explain_attention(model, TOKENS, [one], layer=1, head=3, query=5, key=2, against=4)
    expected = float(scores[3, 5, 2] - scores[3, 5, 4])
    assert versus.score == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert any(pair.key is not None and pair.key.kind == "feature" for pair in versus.pairs)


def _scores(model: Model, layer: int) -> np.ndarray:
    """What softmax is given, by the model's own attention written out."""
    module = model.module
    module.set_attn_implementation("eager")
    kept: list[torch.Tensor] = []

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if getattr(func, "__name__", "") == "softmax":
                kept.append(args[0].detach().clone())
            return func(*args, **(kwargs or {}))

    with Spy():
        model.run(torch.tensor([TOKENS]), logits="last")
    module.set_attn_implementation("sdpa" if module._supports_sdpa else "eager")
    return kept[layer][0].float().numpy()


def test_a_soft_cap_is_said() -> None:
    model = Model.wrap(tiny("gemma2"))
    with pytest.raises(ModelError, match="soft cap"):
        explain_attention(model, TOKENS, layer=1, head=0, query=5, key=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 3}, "layer 3"),
        ({"head": 9}, "head 9 of layer 1; expected one of 4 heads"),
        ({"key": 6}, "key 6 comes after query 5"),
        ({"key": 40}, "key 40"),
        ({"query": -9}, "query -9"),
    ],
)
def test_what_is_not_there(options: dict[str, int], message: str) -> None:
    model = Model.wrap(tiny("llama"))
    given = {"layer": 1, "head": 0, "query": 5, "key": 2, **options}
    with pytest.raises(InputError, match=message):
        explain_attention(model, TOKENS, **given)  # type: ignore[arg-type]


def test_it_reads_in_words() -> None:
    model = Model.wrap(tiny("llama"))
    names = {("mlp_out.0-random", n): f"name {n}" for n in range(64)}
    found = explain_attention(
        model, TOKENS, random_transcoders(model), layer=2, head=1, key=3,
        names=lambda d, f: names.get((d, f)),
    )  # fmt: skip
    text = found.summary()
    assert "head 1 of layer 2 looks from" in text
    assert "name " in text
    assert " × " in text


def test_edges_of_a_graph_say_which_heads_carry_them() -> None:
    model = Model.wrap(tiny("llama"))
    site = "resid_post.1"
    graph = trace(model, TOKENS, [random_dictionary(site, site, d=model.d_model)], heads=6)
    assert len(graph.routes) == 6
    weight = {
        (int(s), int(t)): float(w)
        for s, t, w in zip(graph.edges.source, graph.edges.target, graph.edges.weight, strict=True)
    }
    for one in graph.routes:
        ends = graph.nodes[one.source], graph.nodes[one.target]
        assert ends[0].position < ends[1].position
        assert one.direct == 0
        total = sum(part for *_, part in one.heads) + one.rest
        assert total == pytest.approx(weight[one.source, one.target], rel=1e-4)
    read_again = Graph.from_json(graph.to_json())
    titles = [[g.title(g.nodes[r.source]) for r in g.routes] for g in (graph, read_again)]
    assert titles[0] == titles[1]
    assert "by head:" in graph.summary()
