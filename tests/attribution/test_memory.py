"""Graphs of gradients that are computed again give the edges of those that are kept."""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import TINY_FAMILIES, tiny

from inscape.attribution import explain_attention, memory, ranking, trace, trajectory
from inscape.attribution.bases import find_bases
from inscape.attribution.effects import FreePass, predicted
from inscape.attribution.jacobian import Rows
from inscape.attribution.ranking import Linear, choose
from inscape.attribution.sources import lay_out, read
from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.model import Model

tracing = sys.modules[trace.__module__]


def dictionaries(model: Model, which: str) -> list[Dictionary]:
    if which in ("neurons", "heads"):
        return []
    site = "resid_post.1"
    stream = [random_dictionary(site, site, d=model.d_model)]
    skip = [random_dictionary("mlp_in.0", "mlp_out.0", d=model.d_model, skip=True)]
    return stream + (skip if which == "mixed" else list(random_transcoders(model).values()))


@pytest.mark.parametrize("which", ["neurons", "transcoders", "mixed", "heads"])
@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_blocks_that_are_computed_again_give_the_same(family: str, which: str) -> None:
    model = Model.wrap(tiny(family))
    bases, _ = find_bases(model, dictionaries(model, which), which == "heads")
    kept = read(model, bases, model.prompt(TOKENS))
    assert kept.grad is True
    again = replace(kept, grad="recompute")
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    goals = [Linear(len(TOKENS) - 1, vector, 1.0)]
    for one, two in zip(predicted(kept, goals), predicted(again, goals), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    features = [choose(reading, goals, 30) for reading in (kept, again)]
    for part, other in zip(*features, strict=True):
        assert torch.equal(part.feature, other.feature)
        assert torch.equal(part.position, other.position)
    rows = [Rows(lay_out(reading, features[0]), 4) for reading in (kept, again)]
    position, vectors = torch.tensor([6, 3]), torch.stack([vector, vector])
    for _ in range(2):  # the graph stays
        edges = [one.logits(position, vectors) for one in rows]
        torch.testing.assert_close(edges[0], edges[1], atol=1e-5, rtol=1e-4)
    for number, part in enumerate(features[0]):
        if part.num:
            some = torch.arange(min(part.num, 4))
            edges = [one.features((number, some)) for one in rows]
            torch.testing.assert_close(edges[0], edges[1], atol=1e-5, rtol=1e-4)


def test_a_long_prompt_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.wrap(tiny("llama"))
    whole = trace(model, TOKENS)
    monkeypatch.setattr(memory, "DEFAULT", 0.0)
    assert memory.choose(model, len(TOKENS)) == "recompute"
    monkeypatch.setattr(ranking, "_together", lambda targets: targets)
    again = trace(model, TOKENS)
    assert len(again.nodes) == len(whole.nodes)
    assert again.edges.source.tolist() == whole.edges.source.tolist()
    assert again.edges.weight.tolist() == pytest.approx(
        whole.edges.weight.tolist(), rel=1e-3, abs=1e-5
    )
    assert again.links
    for one, two in zip(again.links, whole.links, strict=True):
        assert (one.source, one.target) == (two.source, two.target)
        assert one.predicted == pytest.approx(two.predicted, rel=1e-3, abs=1e-5)


def test_graphs_are_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.wrap(tiny("llama"))
    monkeypatch.setattr(memory, "DEFAULT", 0.0)
    alive: list[weakref.ref[object]] = []
    for kind in (Rows, FreePass, ranking._Pass):

        def made(self: Any, *args: Any, former: Any = kind.__init__, **kwargs: Any) -> None:
            alive.append(weakref.ref(self))
            former(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", made)
    trace(model, TOKENS, heads=2)
    trajectory(model, TOKENS, max_new_tokens=2, nodes=5)
    explain_attention(model, TOKENS, layer=1, head=0)
    gc.collect()
    assert len(alive) > 8
    assert not [type(one()).__name__ for one in alive if one() is not None]


def test_targets_are_ranked_together_where_blocks_are_computed_again() -> None:
    model = Model.wrap(tiny("llama"))
    bases, _ = find_bases(model, [])
    kept = read(model, bases, model.prompt(TOKENS))
    vectors = torch.randn(2, model.d_model, generator=torch.Generator().manual_seed(0))
    goals = [Linear(len(TOKENS) - 1, v, w) for v, w in zip(vectors, (0.7, 0.3), strict=True)]
    both = Linear(len(TOKENS) - 1, 0.7 * vectors[0] + 0.3 * vectors[1], 1.0)
    again = ranking.effects(replace(kept, grad="recompute"), goals)
    for one, two in zip(again, ranking.effects(kept, [both]), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)


def test_a_limit_that_is_too_small_says_how_much_is_needed() -> None:
    model = Model.wrap(tiny("llama"))
    with pytest.raises(InputError, match=r"memory is 1e-09 GB; expected at least .* GB above the"):
        trace(model, TOKENS, memory=1e-9)
    with pytest.raises(InputError, match="memory is 1e-09 GB"):
        trajectory(model, TOKENS, answer=None, max_new_tokens=2, memory=1e-9)
    read, kept, again = memory.estimate(model, 1000)
    assert again < kept
    assert memory.choose(model, 1000, read + kept + 1e-9) is True
    assert memory.choose(model, 1000, read + again + 1e-9) == "recompute"


def test_the_budget_follows_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.wrap(tiny("llama"))
    bases, _ = find_bases(model, [])
    reading = read(model, bases, model.prompt(TOKENS))
    assert tracing._budget(reading) == tracing.MAX_MIXED
    monkeypatch.setattr(tracing, "LONG", 3)
    assert tracing._budget(reading) == tracing.MAX_MIXED * 3 // 7
    monkeypatch.setattr(tracing, "LONG", 0)
    assert tracing._budget(reading) == tracing.MIN_MIXED
    trained, _ = find_bases(model, random_transcoders(model))
    reading = read(model, trained, model.prompt(TOKENS))
    assert tracing._budget(reading) == tracing.MAX_FEATURES
    monkeypatch.setattr(tracing, "MAX_ENTRIES", 2000)
    few = tracing._budget(reading)
    assert few * (few + 7 * 7) <= 1000 < (few + 1) * (few + 1 + 7 * 7)
    graph = trace(model, TOKENS, random_transcoders(model), verified=0)
    assert sum(node.kind == "feature" for node in graph.nodes) == few
