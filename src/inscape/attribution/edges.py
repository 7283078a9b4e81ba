"""All edges of a prompt, computed a batch of targets a backward pass and kept sparse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inscape.attribution.data import Edges, Indices
from inscape.attribution.jacobian import Rows
from inscape.attribution.memory import settle
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import Sources
from inscape.core import progress

BATCH_TOKENS = 4096  # targets times positions of one backward pass
AGAIN_TOKENS = 4096  # of one that computes the blocks again
MAX_BATCH = 128
MOST_LENGTHS, SHORTEST = 8, 16  # parts of the prompt that are run apart; positions of each at least


def compute_edges(
    sources: Sources, targets: Sequence[Linear]
) -> tuple[Edges, npt.NDArray[np.float64]]:
    """Edges into the targets, which are numbered behind all nodes, and into the features; and what
    of each one's value is no edge (bias [node + target], NaN of what has no inputs)."""
    num_nodes, num_pos = sources.num_nodes, sources.num_positions
    most = (sources.num_features + len(targets)) * num_nodes
    store = _Store(num_nodes + len(targets), most)
    with progress("tracing", len(targets) + sources.num_features, "nodes") as bar:
        again = sources.reading.grad == "recompute"
        rows = Rows(sources, _batch(sources, num_pos), only=[] if again else None)
        for first in range(0, len(targets), rows.batch):
            some = targets[first : first + rows.batch]
            _into_targets(rows, num_nodes + first, some, store)
            bar.advance(len(some))
        for length, chosen in reversed(_by_length(sources)):
            size = _batch(sources, length)
            for batch in _batches(chosen, size, again):
                if again:  # what is computed again and not used stays as long as the graph
                    rows.close()
                    rows = Rows(sources, size, length=length, only=[n for n, _ in batch])
                elif length != rows.length:
                    rows.close()
                    rows = Rows(sources, size, length=length)
                starts = [sources.starts[number] + some for number, some in batch]
                values = [sources.features[number].value[some] for number, some in batch]
                store.add(torch.cat(starts), rows.features(*batch), torch.cat(values))
                bar.advance(sum(len(some) for _, some in batch))
        rows.close()
    settle(sources.reading.grad)
    return store.edges(), store.bias


def _into_targets(rows: Rows, first: int, targets: Sequence[Linear], store: _Store) -> None:
    vectors = torch.stack([one.vector for one in targets])
    position = torch.tensor([one.position for one in targets], device=vectors.device)
    values = (vectors * rows.sources.reading.final[position]).sum(-1)
    store.add(first + torch.arange(len(targets)), rows.logits(position, vectors), values)


def _batch(sources: Sources, length: int) -> int:
    """Targets of a backward pass; more where it also computes the blocks again."""
    tokens = AGAIN_TOKENS if sources.reading.grad == "recompute" else BATCH_TOKENS
    return max(1, min(MAX_BATCH, tokens // length))


def _batches(
    chosen: Sequence[Tensor], size: int, mixed: bool
) -> Iterator[list[tuple[int, Tensor]]]:
    """Features by basis in batches, each of one basis; mixed: also of several, so that as few
    passes as can be compute blocks again."""
    parts = [
        (number, some)
        for number, wanted in enumerate(chosen)
        for some in (torch.split(wanted, size) if len(wanted) else ())
    ]
    batch: list[tuple[int, Tensor]] = []
    for number, some in parts:
        if batch and (not mixed or sum(len(x) for _, x in batch) + len(some) > size):
            yield batch
            batch = []
        batch.append((number, some))
    if batch:
        yield batch


def _by_length(sources: Sources) -> list[tuple[int, list[Tensor]]]:
    """The features, those at early positions apart from those at late ones, as far as there are
    enough to fill batches: how much of the prompt is to be run, and which features by basis."""
    num_pos, num = sources.num_positions, sources.num_features
    bases = sum(part.num > 0 for part in sources.features)
    parts = min(MOST_LENGTHS, num // max(1, bases * _batch(sources, num_pos)), num_pos // SHORTEST)
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
