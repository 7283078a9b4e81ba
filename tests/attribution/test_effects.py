"""What features do in the model as it is: predicted by gradients, measured by removing them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.attribution.targets import targets_of
from tests.families import tiny

from inscape.attribution import Graph, trace
from inscape.attribution.bases import find_bases
from inscape.attribution.effects import (
    Removal,
    Removals,
    activation,
    of_nodes,
    predicted,
    removals_of,
)
from inscape.attribution.interventions import alike
from inscape.attribution.ranking import Linear, choose
from inscape.attribution.sources import lay_out, read
from inscape.attribution.verify import described, spearman
from inscape.dictionary import Dictionary
from inscape.model import Model


def bases(model: Model, which: str) -> list[Dictionary]:
    site = "resid_post.1"
    if which == "stream":
        return [random_dictionary(site, site, d=model.d_model)]
    return list(random_transcoders(model).values()) if which == "transcoders" else []


@pytest.mark.parametrize("which", ["neurons", "transcoders", "stream"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "olmo2", "gpt_neox"])
def test_what_is_predicted_is_the_slope_of_what_is_measured(family: str, which: str) -> None:
    """A feature made a thousandth smaller: the targets lose a thousandth of what is predicted."""
    model = Model.wrap(tiny(family).double())
    reading = read(model, find_bases(model, bases(model, which))[0], model.prompt(TOKENS))
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    targets = [Linear(len(TOKENS) - 1, vector, 1.0)]
    removals = Removals(reading, targets)
    effects = predicted(reading, targets)
    for number, effect in enumerate(effects):
        part = reading.active[number]
        basis = reading.bases[number]
        flat = effect.flatten()
        for n in flat.abs().argsort(descending=True)[:2].tolist():
            if part is None:
                width = effect.shape[1]
                position, feature = n // width, n % width
                site, small = basis.read, 1e-3

                def edit(
                    x: torch.Tensor, p: int = position, f: int = feature, s: float = small
                ) -> torch.Tensor:
                    x = x.clone()
                    x[:, p, f] *= 1 - s
                    return x

                final = model.run(reading.prompt, read=["final"], edits={site: edit})["final"][0]
                lost = removals.whole - float(final[-1].float() @ vector)
            else:
                small = 1e-3
                one = Removal(
                    number,
                    int(part.feature[n]),
                    int(part.position[n]),
                    small * float(part.value[n]),
                )
                (lost,) = removals.lost([[one]])
            assert lost / small == pytest.approx(float(flat[n]), rel=0.02, abs=1e-2)


def test_a_graph_says_what_its_features_do() -> None:
    model = Model.wrap(tiny("llama"))
    graph = trace(model, TOKENS, verified=6)
    features = [node for node in graph.nodes if node.kind == "feature"]
    assert all(node.effect is not None for node in features)
    measured = [node for node in features if node.measured is not None]
    assert len(measured) == 6
    least = min(abs(node.effect or 0) for node in measured)
    assert least >= max(abs(n.effect or 0) for n in features if n.measured is None)
    node = max(measured, key=lambda n: abs(n.measured or 0))
    width = model.width(f"mlp_act.{node.layer}")

    def without(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, node.position, node.feature % width] = 0
        return x

    weights = {t: graph.nodes[t].probability or 0.0 for t in graph.targets}
    total = sum(weights.values())
    found = []
    for edits in ({}, {f"mlp_act.{node.layer}": without}):
        run = model.run(model.prompt(TOKENS), edits=edits, logits="last")
        assert run.logits is not None
        logits = run.logits[0, -1] - run.logits[0, -1].mean()
        found.append(
            sum(w / total * float(logits[graph.nodes[t].feature]) for t, w in weights.items())
        )
    assert node.measured == pytest.approx(found[0] - found[1], rel=1e-3, abs=1e-4)
    checked = graph.verification
    assert checked is not None
    assert checked.num == 6
    assert checked.together[-1].predicted > 0
    assert all(len(some.controls) == 10 for some in checked.together)
    assert all(n.measured is None or k for n, k in zip(graph.nodes, graph.kept_nodes, strict=True))
    again = Graph.from_json(graph.to_json())
    assert again.verification == checked
    assert "predicted effects" in graph.summary()
    assert trace(model, TOKENS, verified=0).verification is None


@pytest.mark.parametrize("which", ["neurons", "stream"])
def test_sets_are_exchanged_with_another_prompt(which: str) -> None:
    model = Model.wrap(tiny("llama"))
    other = [TOKENS[0], 8, *TOKENS[2:]]
    made = bases(model, which)
    graph = trace(model, TOKENS, made, verified=4, other=other)
    checked = graph.verification
    assert checked is not None
    assert checked.other == model.prompt(other).text
    last = checked.together[-1]
    assert last.exchanged is not None
    assert last.restored is not None
    assert len(last.exchanged_controls) == len(last.restored_controls) == 10
    best = sorted(
        (n for n in graph.nodes if n.measured is not None), key=lambda n: -(n.effect or 0)
    )
    best = [node for node in best if (node.effect or 0) > 0]
    assert last.num == len(best)
    value = targets_of(model, graph)
    assert checked.gap == pytest.approx(value(TOKENS, {}) - value(other, {}), rel=1e-3, abs=1e-4)
    if which == "stream":
        return
    edits: dict[str, Any] = {}
    for layer in range(model.num_layers):
        site, own = f"mlp_act.{layer}", [node for node in best if node.layer == layer]
        there = model.run(model.prompt(other), read=[site])[site]

        def swap(x: torch.Tensor, own: Any = own, there: torch.Tensor = there) -> torch.Tensor:
            x = x.clone()
            for node in own:
                place = node.position, node.feature % x.shape[-1]
                x[0, place[0], place[1]] = there[0, place[0], place[1]]
            return x

        edits[site] = swap
    lost = value(TOKENS, {}) - value(TOKENS, edits)
    assert last.exchanged == pytest.approx(lost, rel=1e-3, abs=1e-4)
    assert "as they are there" in graph.summary()
    for gap, said in ((0.25, "0.25 lower"), (-0.25, "0.25 higher")):
        assert said in "\n".join(described(replace(checked, gap=gap)))
    assert Graph.from_json(graph.to_json()).verification == checked


def test_a_graph_whose_predictions_fail_is_marked() -> None:
    graph = trace(Model.wrap(tiny("llama")), TOKENS, verified=4)
    assert graph.verification is not None
    failed = replace(graph.verification, holds=False, agreement=0.1)
    assert "FAIL" in "\n".join(described(failed))
    assert "FAIL" in replace(graph, verification=failed).summary()


def test_effects_of_nodes_are_those_of_their_features() -> None:
    model = Model.wrap(tiny("llama"))
    reading = read(model, find_bases(model, bases(model, "stream"))[0], model.prompt(TOKENS))
    vector = torch.ones(model.d_model)
    effects = predicted(reading, [Linear(len(TOKENS) - 1, vector, 1.0)])
    number = next(n for n, part in enumerate(reading.active) if part is not None)
    part = reading.active[number]
    assert part is not None
    some = torch.tensor([part.num - 1, 0, 2])
    empty = [p.take(torch.tensor([], dtype=torch.long)) for p in reading.active if p is not None]
    chosen = [part.take(some) if n == number else empty[0] for n in range(len(effects))]
    torch.testing.assert_close(of_nodes(reading, effects, chosen), effects[number][some])


def test_rank_correlation() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2], [1, 2]) is None


@pytest.mark.parametrize("which", ["neurons", "transcoders", "stream"])
def test_random_sets_are_other_features_of_the_same_places(which: str) -> None:
    model = Model.wrap(tiny("llama"))
    made = bases(model, which)
    reading = read(model, find_bases(model, made)[0], model.prompt(TOKENS))
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    goals = [Linear(len(TOKENS) - 1, vector, 1.0)]
    sources = lay_out(reading, choose(reading, goals, 20))
    some = removals_of(sources)[:12]
    nodes = {(one.basis, one.position, one.feature) for one in removals_of(sources)}
    for seed in range(5):
        drawn = alike(sources, some, random.Random(seed))
        places = [(one.basis, one.position, one.feature) for one in drawn]
        assert len(set(places)) == len(places)
        assert not set(places) & nodes
        assert {p[:2] for p in places} <= {(one.basis, one.position) for one in some}
        if which == "neurons":  # of which all are active
            assert len(drawn) == len(some)
        for one in drawn:
            now = activation(one, reading.inputs, reading.active, reading.bases[one.basis].read)
            assert now == pytest.approx(one.value)
