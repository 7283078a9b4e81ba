"""All edges of a prompt, computed a batch of targets a backward pass and kept sparse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inscape.attribution.data import Edges, Indices
from inscape.attribution.jacobian import Rows
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import Sources
from inscape.core import progress

BATCH_TOKENS = 4096  # targets times positions of one backward pass
MAX_BATCH = 128
MOST_LENGTHS, SHORTEST = 8, 16  # parts of the prompt that are run apart; positions of each at least


def compute_edges(
    sources: Sources, targets: Sequence[Linear]
) -> tuple[Edges, npt.NDArray[np.float64]]:
    """Edges into the targets, which are numbered behind all nodes, and into the features; and what
    of each one's value is no edge (bias [node + target], NaN of what has no inputs)."""
    num_nodes = sources.num_nodes
    most = (sources.num_features + len(targets)) * num_nodes
    store = _Store(num_nodes + len(targets), most)
    with progress("tracing", len(targets) + sources.num_features, "nodes") as bar:
        _into_targets(sources, targets, store)
        bar.advance(len(targets))
        for length, chosen in _by_length(sources):
            batch = _batch(length)
            rows = Rows(sources, batch, length=length)
            for number, wanted in enumerate(chosen):
                for some in torch.split(wanted, batch) if len(wanted) else ():
                    values = sources.features[number].value[some]
                    store.add(sources.starts[number] + some, rows.features(number, some), values)
                    bar.advance(len(some))
    return store.edges(), store.bias


def _into_targets(sources: Sources, targets: Sequence[Linear], store: _Store) -> None:
    batch, final = _batch(sources.num_positions), sources.reading.final
    rows = Rows(sources, batch)
    for first in range(0, len(targets), batch):
        some = targets[first : first + batch]
        vectors = torch.stack([one.vector for one in some])
        position = torch.tensor([one.position for one in some], device=vectors.device)
        numbers = sources.num_nodes + first + torch.arange(len(some))
        values = (vectors * final[position]).sum(-1)
        store.add(numbers, rows.logits(position, vectors), values)


def _batch(length: int) -> int:
    return max(1, min(MAX_BATCH, BATCH_TOKENS // length))


def _by_length(sources: Sources) -> list[tuple[int, list[Tensor]]]:
    """The features, those at early positions apart from those at late ones, as far as there are
    enough to fill batches: how much of the prompt is to be run, and which features by basis."""
    num_pos, num = sources.num_positions, sources.num_features
    bases = sum(part.num > 0 for part in sources.features)
    parts = min(MOST_LENGTHS, num // max(1, bases * _batch(num_pos)), num_pos // SHORTEST)
    if parts < 2 or sources.reading.prompt.pixels is not None:
        return [(num_pos, [torch.arange(part.num) for part in sources.features])] if num else []
    position = torch.cat([part.position for part in sources.features]).cpu()
    last = position.sort().values[[num * n // parts - 1 for n in range(1, parts + 1)]]
    found, first = [], 0
    for end in sorted({int(at) + 1 for at in last}):
        there = [(part.position >= first) & (part.position < end) for part in sources.features]
        found.append((end, [torch.nonzero(some)[:, 0] for some in there]))
        first = end
    return found


class _Store:
    """Rows as they come, kept sparse; with the biases of the targets.

    Room is taken for `most` edges, of which the machine hands out what is written to; there may be
    a hundred million, which are not to be copied.
    """

    def __init__(self, num_nodes: int, most: int) -> None:
        self.source = np.empty(most, dtype=np.int32)
        self.weight = np.empty(most, dtype=np.float32)
        self.targets: list[Indices] = []
        self.counts: list[npt.NDArray[np.int64]] = []
        self.num = 0
        self.bias = np.full(num_nodes, np.nan)

    def add(self, targets: Tensor, rows: Tensor, values: Tensor) -> None:
        """Rows [target, node] into nodes of these numbers, whose values are `values`."""
        rows, numbers = rows.cpu(), targets.cpu().numpy()
        there = rows != 0
        weight = rows[there].numpy()
        more = slice(self.num, self.num + len(weight))
        self.source[more] = torch.nonzero(there)[:, 1].numpy()
        self.weight[more] = weight
        self.num = more.stop
        self.targets.append(numbers.astype(np.int32))
        self.counts.append(there.sum(1).numpy())
        self.bias[numbers] = (values.cpu().double() - rows.double().sum(1)).numpy()

    def edges(self) -> Edges:
        """All edges, by target."""
        targets = np.repeat(np.concatenate(self.targets), np.concatenate(self.counts))
        return Edges(self.source[: self.num], targets, self.weight[: self.num])
