"""Edges computed on the part of the prompt that a target sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import random_transcoders
from tests.families import tiny

from inscape.attribution import edges as module
from inscape.attribution import trace
from inscape.attribution.jacobian import Rows
from inscape.model import Model

TOKENS = torch.randint(3, 60, (40,), generator=torch.Generator().manual_seed(0)).tolist()


@pytest.mark.parametrize(
    ("family", "read"),
    [
        ("gpt2", "transcoders"),
        ("llama", "neurons"),
        ("llama", "transcoders"),
        ("gemma3_text", "neurons"),
    ],
)
def test_a_shorter_run_gives_the_same_edges(
    family: str, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.wrap(tiny(family))
    made = random_transcoders(model) if read == "transcoders" else {}
    lengths: list[int] = []
    former = Rows.__init__

    def counted(self: Rows, *args: Any, **kwargs: Any) -> None:
        former(self, *args, **kwargs)
        lengths.append(self.length)

    monkeypatch.setattr(Rows, "__init__", counted)
    whole = trace(model, TOKENS, made, max_features=300, verified=0)
    assert set(lengths) == {len(TOKENS)}
    monkeypatch.setattr(module, "BATCH_TOKENS", 40)
    monkeypatch.setattr(module, "SHORTEST", 8)
    parts = trace(model, TOKENS, made, max_features=300, verified=0)
    assert len(set(lengths)) >= 2
    assert len(parts.edges) == pytest.approx(len(whole.edges), rel=0.01)  # some are nearly nothing
    scale = float(np.abs(whole.edges.weight).max())
    ends = len(whole.nodes)
    dense = [np.zeros((ends, ends), np.float32) for _ in range(2)]
    for table, graph in zip(dense, (whole, parts), strict=True):
        table[graph.edges.target, graph.edges.source] = graph.edges.weight
    assert np.abs(dense[0] - dense[1]).max() <= 1e-5 * scale
    for one, two in zip(whole.nodes, parts.nodes, strict=True):
        if one.bias is not None:
            assert two.bias == pytest.approx(one.bias, abs=1e-4 * scale)
