"""Running the model over a pool of rows: activations by site, and which tokens count.

1. Rows of similar length form a batch, so that there is little padding. The model is causal and
   padding is on the right: padded positions are dropped and no mask is needed. The forward pass
   stops at the last requested site.
2. Of N processes that share the forward passes, each runs every N-th batch, then broadcasts its
   activations to the others, one batch and site at a time: all hold the same activations.
3. A `Reading` runs the passes piece by piece; whatever needs the host or the other processes comes
   at its end.
4. Non-text tokens (special tokens, those of a chat template) and attention sinks do not count. The
   norm threshold of sinks follows from the medians of the first pool, at the residual stream sites
   that are read, or else before the last layer (an MLP's output has heavy tails).
5. On a CPU with instructions for bf16 (AVX-512 BF16, AMX) a float32 model of at least LARGE
   parameters is run with a bf16 copy of them: activations are stored in bf16 in any case, and the
   forward pass takes half of the time or less. On a GPU a model is used as it was opened.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inscape.activations.corpus import Pool
from inscape.activations.queues import SingleQueue, pinned, sent
from inscape.activations.shards import BOS, SINK
from inscape.activations.statistics import row_norms
from inscape.core import DataError, has_bf16
from inscape.model import Model, find_sinks

NORMS = "norms"
BATCH_TOKENS = (2048, 8192)
"""Tokens per forward pass on a CPU, to fit its cache, and on a GPU."""


LARGE = 1 << 25
_copies: WeakKeyDictionary[Model, Model] = WeakKeyDictionary()


class Sharing(Protocol):
    """Processes that share the forward passes over a text: all see the same pools in one order.

    count, number: the number of processes, and the rank of this one. device: the kind of device on
    which they exchange tensors.
    """

    @property
    def count(self) -> int: ...

    @property
    def number(self) -> int: ...

    @property
    def device(self) -> str: ...

    def broadcast(self, tensor: Tensor, owner: int) -> Tensor:
        """Broadcast the tensor of process `owner` to all of them, in place."""
        ...


class Reader:
    """Reads pools at some sites, `sharing` the forward passes with other processes.

    medians: median norm by site, from the first pool.
    """

    def __init__(
        self,
        model: Model,
        sites: list[str],
        batch_tokens: int | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self.model, self.sites = reading_copy(model), sites
        self.batch_tokens = batch_tokens or BATCH_TOKENS[model.device.type != "cpu"]
        self.sharing = sharing
        self.medians: dict[str, float] = {}
        self._judged = [site for site in sites if site.startswith("resid_")]
        layers = [int(site.partition(".")[2]) for site in sites if "." in site]
        self._judge = f"resid_pre.{max(layers)}" if layers and not self._judged else None

    def read(self, pool: Pool) -> dict[str, Tensor]:
        """bf16 activations [tokens, width] of every site, in the pool's order, on the CPU."""
        acts = self.space(len(pool.ids), "cpu")
        for rows in self.passes(pool):
            self.run(pool, rows, acts)
        self.exchange(pool, acts)
        return acts

    def space(self, tokens: int, device: torch.device | str) -> dict[str, Tensor]:
        """Buffers for activations: bf16 [tokens, width] by site and, if no site is in the residual
        stream, the norms [tokens] of one as NORMS."""
        sizes = {site: (tokens, self.model.width(site)) for site in self.sites}
        acts = {
            site: torch.empty(size, dtype=torch.bfloat16, device=device)
            for site, size in sizes.items()
        }
        return acts | ({NORMS: torch.empty(tokens, device=device)} if self._judge else {})

    def norms(self, acts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """fp32 norms [tokens] by site, on the CPU."""
        found = {site: row_norms(acts[site]) for site in self.sites}
        return found | ({self._judge: acts[NORMS].cpu()} if self._judge else {})

    def passes(self, pool: Pool) -> list[NDArray[np.int64]]:
        """The rows of each forward pass that this process runs."""
        batches = _batches(pool, self.batch_tokens)
        return batches if self.sharing is None else batches[self.sharing.number :: self._count]

    def run(self, pool: Pool, rows: NDArray[np.int64], acts: Mapping[str, Tensor]) -> None:
        """Write the activations of some rows, from one forward pass, to their places in `acts`.

        Nothing here waits for the GPU unless `acts` are on another device than the model. Some
        transformers models do wait: their check for packed rows synchronises.
        """
        places, real = _places(pool, rows)
        tokens = torch.zeros(real.shape, dtype=torch.int64)
        tokens[real] = torch.from_numpy(pool.ids)[places].long()
        read = [*self.sites, self._judge] if self._judge else self.sites
        run = self.model.run(pinned(tokens, self.model.device), read=read)
        (device,) = {x.device for x in acts.values()}
        slots = sent(real.flatten().nonzero().flatten(), device)
        places = sent(places, device)
        for site, x in acts.items():
            value = run[self._judge or ""].float().norm(dim=-1) if site == NORMS else run[site]
            part = value.to(dtype=x.dtype, device=device).flatten(0, 1)
            x.index_copy_(0, places, part.index_select(0, slots))

    def exchange(self, pool: Pool, acts: Mapping[str, Tensor]) -> None:
        """Broadcast what each process has read of a pool to all others."""
        if self.sharing is None or self._count == 1:
            return
        for number, rows in enumerate(_batches(pool, self.batch_tokens)):
            places, _ = _places(pool, rows)
            for x in acts.values():
                at = sent(places, x.device)
                piece = x.index_select(0, at)
                self.sharing.broadcast(piece, number % self._count)
                x.index_copy_(0, at, piece)

    @property
    def _count(self) -> int:
        return 1 if self.sharing is None else self.sharing.count

    def flags(self, pool: Pool, norms: dict[str, Tensor]) -> NDArray[np.uint8]:
        """Which tokens do not count, and why: uint8 [tokens]; 0 where they do.

        Raises:
            DataError: an activation is not finite.
        """
        for site, values in norms.items():
            if not bool(torch.isfinite(values).all()):
                token = int((~torch.isfinite(values)).nonzero()[0])
                row = int(np.searchsorted(pool.starts, token, side="right")) - 1
                raise DataError(
                    f"the model's activation at {site} is not finite at position "
                    f"{token - pool.starts[row]} of document {pool.document[row]}",
                    next_step="leave that document out, or open the model in float32",
                )
        words = torch.from_numpy(pool.words)
        judged = {s: norms[s] for s in ([self._judge] if self._judge else self._judged)} or norms
        if not self.medians:
            typical = norms if not bool(words.any()) else {s: v[words] for s, v in judged.items()}
            self.medians = {site: float(typical[site].median()) for site in judged}
        sinks = find_sinks(judged, self.medians) & words
        found: NDArray[np.uint8] = (~words * BOS + sinks * SINK).to(torch.uint8).numpy()
        return found


class Reading:
    """A pool that is read pass by pass, in the `queue` concurrent with the steps.

    acts: bf16 [tokens, width] by site, to be filled; work launched earlier may still use them.
    """

    def __init__(
        self, reader: Reader, pool: Pool, acts: Mapping[str, Tensor], queue: SingleQueue
    ) -> None:
        self._reader, self._pool, self._acts, self._queue = reader, pool, acts, queue
        self._passes, self._done = reader.passes(pool), 0
        queue.begin()

    def advance(self, done: int, of: int) -> None:
        """Launch passes until at least the fraction `done` / `of` of them has been launched."""
        while self._done * of < len(self._passes) * done:
            with self._queue.within():
                self._reader.run(self._pool, self._passes[self._done], self._acts)
            self._done += 1

    def finish(self) -> NDArray[np.uint8]:
        """Run the remaining passes, which completes `acts`; returns `Reader.flags`.

        Raises:
            DataError: an activation is not finite.
        """
        self.advance(1, 1)
        self._queue.end()
        self._reader.exchange(self._pool, self._acts)
        return self._reader.flags(self._pool, self._reader.norms(self._acts))


def _batches(pool: Pool, batch_tokens: int) -> list[NDArray[np.int64]]:
    """The rows of each forward pass."""
    order = np.argsort(pool.lengths, kind="stable")
    found: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        rows = order[start:]
        # Lengths ascend: the batch takes rows while their number times the longest fits.
        fits = np.arange(1, len(rows) + 1) * pool.lengths[rows] <= batch_tokens
        found.append(rows[: max(1, int(fits.sum()))])
        start += len(found[-1])
    return found


def _places(pool: Pool, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """The indices of some rows' tokens in the pool [tokens], and the mask of real tokens in the
    right-padded batch of these rows [rows, positions]."""
    lengths = pool.lengths[rows]
    columns = np.arange(lengths.max())
    real = columns[None, :] < lengths[:, None]
    places = (pool.starts[rows][:, None] + columns)[real]
    return torch.from_numpy(places), torch.from_numpy(real)


def reading_copy(model: Model) -> Model:
    """`model`, or a bf16 copy of it if that is faster; made once per model.

    The copy shares everything but the parameters with `model`; its hash must not be used.
    """
    if model.dtype != torch.float32 or not _fast(model):
        return model
    if model not in _copies:
        parameters: dict[int, Any] = {
            id(p): nn.Parameter(p.to(torch.bfloat16), requires_grad=False)
            for p in model.module.parameters()
        }
        shared = {id(v): v for k, v in vars(model).items() if k not in ("module", "structure")}
        _copies[model] = copy.deepcopy(model, {**shared, **parameters})
    return _copies[model]


def _fast(model: Model) -> bool:
    large = sum(p.numel() for p in model.module.parameters()) >= LARGE
    return model.device.type == "cpu" and large and has_bf16(model.device)
