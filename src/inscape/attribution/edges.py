"""All edges of a prompt, computed a batch of targets a backward pass and kept sparse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inscape.attribution.data import Edges
from inscape.attribution.jacobian import Rows
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import Sources
from inscape.core import progress

BATCH_TOKENS = 4096  # targets times positions of one backward pass
MAX_BATCH = 128


def compute_edges(
    sources: Sources, targets: Sequence[Linear]
) -> tuple[Edges, npt.NDArray[np.float64]]:
    """Edges into the targets, which are numbered behind all nodes, and into the features; and what
    of each one's value is no edge (bias [node + target], NaN of what has no inputs)."""
    reading, num_nodes = sources.reading, sources.num_nodes
    store = _Store(num_nodes + len(targets))
    batch = max(1, min(MAX_BATCH, BATCH_TOKENS // sources.num_positions))
    rows = Rows(sources, batch)
    with progress("tracing", len(targets) + sources.num_features, "nodes") as bar:
        for first in range(0, len(targets), batch):
            some = targets[first : first + batch]
            vectors = torch.stack([one.vector for one in some])
            position = torch.tensor([one.position for one in some], device=vectors.device)
            values = (vectors * reading.final[position]).sum(-1)
            store.add(num_nodes + first, rows.logits(position, vectors), values)
            bar.advance(len(some))
        for number, features in enumerate(sources.features):
            every = torch.arange(features.num, device=features.position.device)
            for chosen in torch.split(every, batch) if features.num else ():
                first = sources.starts[number] + int(chosen[0])
                store.add(first, rows.features(number, chosen), features.value[chosen])
                bar.advance(len(chosen))
    return store.edges(), store.bias


class _Store:
    """Rows as they come, kept sparse; with the biases of the targets."""

    def __init__(self, num_nodes: int) -> None:
        self.parts: list[tuple[npt.NDArray[np.generic], ...]] = []
        self.bias = np.full(num_nodes, np.nan)

    def add(self, first: int, rows: Tensor, values: Tensor) -> None:
        """Rows [target, node] into the nodes from `first` on, whose values are `values`."""
        row, column = torch.nonzero(rows, as_tuple=True)
        self.parts.append(
            (
                column.cpu().numpy().astype(np.int32),
                (first + row).cpu().numpy().astype(np.int32),
                rows[row, column].cpu().numpy().astype(np.float32),
            )
        )
        bias = values.double() - rows.double().sum(1)
        self.bias[first : first + len(rows)] = bias.cpu().numpy()

    def edges(self) -> Edges:
        source, target, weight = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return Edges(source, target, weight)
