"""What a graph's targets are in the model as it is, by plain runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inscape.attribution import Graph
from inscape.model import Model


def targets_of(model: Model, graph: Graph) -> Callable[[Sequence[int], dict[str, Any]], float]:
    """Gives the targets, weighted by probability, on token ids with edits."""
    weights = np.array([graph.nodes[t].probability for t in graph.targets])
    tokens = [graph.nodes[t].feature for t in graph.targets]

    def value(ids: Sequence[int], edits: dict[str, Any]) -> float:
        logits = model.run(model.prompt(ids), edits=edits, logits="last").logits
        assert logits is not None
        row = logits[0, -1] - logits[0, -1].mean()
        return float((row[tokens].numpy() * weights).sum() / weights.sum())

    return value
