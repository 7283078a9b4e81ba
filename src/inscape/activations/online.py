"""Activations computed on demand during training, and never stored.

1. The corpus is cut into blocks of rows (the pools of `corpus`), starting over at its end. Two
   blocks are held at a time (three on a GPU), on the model's device, in buffers allocated once:
   `memory` bounds their total. Batches are gathered there and stay there.
2. Every block's tokens are split in halves by a seeded permutation. Round r yields the first half
   of block r and the second half of block r - 1, shuffled together: every token comes once an
   epoch, tokens of one document are spread out, and a batch costs only its own rows.
3. Beginning-of-text tokens get no slot in the shuffle. An attention sink does, filled by another
   token of its block: so slots follow from the text alone, and batch n is the same wherever drawing
   starts. To start at n, the text before it is tokenised and two blocks are read.
4. On a GPU, block r + 1 is read into the third buffer while the batches of round r are drawn: each
   batch launches its fraction of the forward passes on a stream concurrent with the steps (see
   `queues`). On a CPU the steps take all cores, and a block is read whole when its round begins.
5. Statistics are those of the first block.
6. Processes that train together share the forward passes of every block (see `reader`), and all
   hold the same blocks: batch n does not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations.corpus import Corpus, Pool, Text, row_length, site_names
from inscape.activations.queues import concurrent_queue, sent
from inscape.activations.reader import Reader, Reading, Sharing
from inscape.activations.shards import BOS
from inscape.activations.statistics import Moments, SiteStats, row_norms
from inscape.activations.tensors import check_batches
from inscape.core import DataError, InputError, SiteError, seeded, whole
from inscape.model import Model, Site

MEMORY = 1 << 30


class OnlineActivations:
    """A source of activations for training that holds a few blocks in memory, nothing on disk.

    Args:
        model: the model to read.
        text: a path (see `documents`), texts, or documents as token ids.
        sites: where to read; batches may be of some of them.
        context, max_tokens, batch_tokens: as `harvest`.
        memory: bytes that all blocks together may take, in bf16, on the model's device.
        sharing: the processes that share the forward passes (`Ranks` of `training.connected`): each
            has such a source of the same text, and makes the same calls in the same order.

    Raises:
        InputError: no site, a context longer than the model's, memory for less than a row, or
            processes that cannot exchange tensors on the model's device.
        SiteError: a site is unknown.
        DataError: the corpus does not exist.
    """

    def __init__(
        self,
        model: Model,
        text: Text,
        sites: Sequence[str],
        *,
        context: int | None = None,
        max_tokens: int | None = None,
        batch_tokens: int | None = None,
        memory: int = MEMORY,
        sharing: Sharing | None = None,
    ) -> None:
        self.sites = site_names(model, sites)
        whole(memory, "bytes of memory", 0)
        self._context = row_length(model, context)
        token_bytes = 2 * sum(map(model.width, self.sites))
        self._queue = concurrent_queue(model.device)
        blocks = 3 if self._queue.concurrent else 2
        self.block_tokens = memory // (blocks * token_bytes) - self._context
        if self.block_tokens < self._context:
            least = 2 * blocks * token_bytes * self._context
            raise InputError(
                f"{memory} bytes hold too few activations of {len(self.sites)} sites",
                expected=f"at least {least}, for rows of {self._context} tokens",
                next_step="give more memory, or a shorter context",
            )
        if sharing is not None and sharing.count > 1:
            _check_device(model, sharing)
        self._model, self._max_tokens, self.memory = model, max_tokens, memory
        self._corpus = Corpus(model, text)
        self._reader = Reader(model, self.sites, batch_tokens, sharing)
        self._stats: dict[str, SiteStats] = {}
        self._held: dict[int, _Block] = {}  # by number, least recently used first
        room = self.block_tokens + self._context  # tokens of a block, at most
        self._room = self._reader.space(blocks * room, model.device)
        for x in self._room.values():
            self._queue.uses(x)
        self._free = [number * room for number in range(blocks)]
        self._slots: list[int] = []  # the number of slots of each block so far
        self._num_blocks: int | None = None  # known once the text has ended
        self._pool: Pool | None = None
        self._restart()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a product of these activations is made from."""
        return {
            "model": self._model.name,
            "model_hash": self._model.hash,
            "sites": self.sites,
            "text": self._corpus.fingerprint(),
            "bos": self._model.bos,
            "context": self._context,
            "max_tokens": self._max_tokens,
            "block_tokens": self.block_tokens,
        }

    @property
    def sample_tokens(self) -> int:
        """How many tokens can be drawn from the first two blocks, whatever the seed."""
        return self.block_tokens

    def width(self, site: str | Site) -> int:
        """Width of the activations at a site."""
        return self._model.width(self._site(site))

    def site_stats(self, site: str | Site) -> SiteStats:
        """Statistics of a site over the tokens of the first block that count."""
        name = self._site(site)
        if name not in self._stats:
            block = self._block(0)
            kept, x = torch.from_numpy(block.kept), block.acts[name]
            self._stats[name] = Moments.of(x, kept, row_norms(x)).finish()
        return self._stats[name]

    def batches(
        self,
        sites: Sequence[str | Site],
        batch_size: int,
        *,
        seed: int,
        epochs: int | None = None,
        start: int = 0,
        part: slice = slice(None),
    ) -> Iterator[dict[str, Tensor]]:
        """Shuffled fp32 batches over the tokens that count, on the model's device; see
        `ActivationStore.batches`. With a `part` all rows are still read.

        Raises:
            DataError: an activation is not finite: document and position are named.
        """
        check_batches(sites, batch_size, seed=seed, epochs=epochs, start=start)
        names = [self._site(site) for site in sites]
        parts: list[dict[str, Tensor]] = []
        missing = batch_size
        for number, rows, owner in self._rounds(seed, epochs, start * batch_size):
            following = self._following(number, epochs)
            begin = 0
            while begin < len(rows):
                end = min(begin + missing, len(rows))
                values = self._gather(names, rows[begin:end], owner[begin:end])
                parts.append(values)
                if following is not None:
                    self._advance(following, end, len(rows))
                missing -= end - begin
                begin = end
                if not missing:
                    yield _joined(parts, part)
                    parts, missing = [], batch_size
        if parts:
            yield _joined(parts, part)

    def _rounds(
        self, seed: int, epochs: int | None, place: int
    ) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        """(number, rows, block of each row) of every round, from `place` on."""
        number = 0
        while True:
            halves = [(number, 0)] if self._exists(number, epochs) else []
            halves += [(number - 1, 1)] if number else []
            size = sum(self._size(*half) for half in halves)
            if place < size:
                rows = [self._block(n).half(seed, n, half) for n, half in reversed(halves)]
                owner = np.repeat([n for n, _ in reversed(halves)], [len(r) for r in rows])
                order = _permutation(size, seed, "round", number)[place:]
                yield number, np.concatenate(rows)[order], owner[order]
            if not self._exists(number, epochs):
                return
            place = max(0, place - size)
            number += 1

    def _gather(
        self, names: list[str], rows: NDArray[Any], owner: NDArray[Any]
    ) -> dict[str, Tensor]:
        """fp32 rows from their blocks."""
        # The earlier block first: it is held already. Blocks are looked up for every batch: another
        # iterator may have evicted them in between.
        blocks, which = np.unique(owner, return_inverse=True)
        starts = np.array([self._block(number).start for number in blocks.tolist()])
        index = sent(torch.from_numpy(rows + starts[which]), self._model.device)
        return {name: self._room[name].index_select(0, index).float() for name in names}

    def _exists(self, number: int, epochs: int | None) -> bool:
        """Whether there is a block of this number within the epochs."""
        if number < len(self._slots) or self._take(number) is not None:
            return True
        return epochs is None or number < epochs * len(self._slots)

    def _size(self, number: int, half: int) -> int:
        slots = self._slots[number % len(self._slots)]
        return (slots + 1) // 2 if half == 0 else slots // 2

    def _restart(self) -> None:
        self._pools = self._corpus.pools(self._context, self.block_tokens, self._max_tokens)
        self._at, self._pool = -1, None

    def _take(self, number: int) -> Pool | None:
        """Pool `number` of the text, continuing from the current position or from the beginning;
        None past the end."""
        if self._num_blocks is not None and number >= self._num_blocks:
            return None
        if number < self._at:
            self._restart()
        while self._at < number:
            pool = next(self._pools, None)
            if pool is None:
                if not self._slots:
                    raise DataError("the corpus is empty", expected="at least two documents")
                self._num_blocks = len(self._slots)
                return None
            self._at, self._pool = self._at + 1, pool
            if self._at == len(self._slots):
                self._slots.append(int(pool.words.sum()))
        return self._pool

    def _following(self, number: int, epochs: int | None) -> int | None:
        """Start the block that is read while the batches of round `number` are drawn; None if
        there is none."""
        if not self._queue.concurrent or not self._exists(number + 1, epochs):
            return None
        self._begun(number + 1)
        return number + 1

    def _advance(self, number: int, done: int, of: int) -> None:
        """Read a started block up to the fraction `done` / `of`; does nothing if another iterator
        has evicted it: then it is read when its round begins."""
        block = self._held.get(self._wrapped(number))
        if block is not None:
            block.reading.advance(done, of)

    def _block(self, number: int) -> _Block:
        """Block `number` of the repeated text, complete: the missing part is read."""
        block = self._begun(number)
        if block.flags is None:
            block.flags = block.reading.finish()
        return block

    def _begun(self, number: int) -> _Block:
        """Block `number` of the repeated text, started unless it is held."""
        number = self._wrapped(number)
        if number not in self._held:
            pool = self._take(number)
            if pool is None:
                return self._begun(number)  # the text has ended: start over
            if not self._free:
                self._free.append(self._held.pop(next(iter(self._held))).start)
            start = self._free.pop()
            end = start + len(pool.ids)
            acts = {site: x[start:end] for site, x in self._room.items()}
            reading = Reading(self._reader, pool, acts, self._queue)
            self._held[number] = _Block(start, acts, reading)
        self._held[number] = self._held.pop(number)
        return self._held[number]

    def _wrapped(self, number: int) -> int:
        return number if self._num_blocks is None else number % self._num_blocks

    def _site(self, site: str | Site) -> str:
        if str(site) not in self.sites:
            raise SiteError(
                f"activations are not read at {site}", expected=f"one of {', '.join(self.sites)}"
            )
        return str(site)


@dataclass(eq=False)
class _Block:
    """start: its offset in the shared buffer; acts: bf16 [tokens, width] by site, views of that
    buffer; flags [tokens]: as in `shards`, 0 where a token counts, None until it is complete."""

    start: int
    acts: dict[str, Tensor]
    reading: Reading
    flags: NDArray[np.uint8] | None = None

    @property
    def kept(self) -> NDArray[np.bool_]:
        """The tokens that count."""
        assert self.flags is not None
        found: NDArray[np.bool_] = self.flags == 0
        return found

    def half(self, seed: int, number: int, half: int) -> NDArray[np.int64]:
        """Rows of the first (0) or second (1) half of the slots; see steps 2 and 3."""
        assert self.flags is not None
        slots = np.flatnonzero(self.flags & BOS == 0)
        counted = np.flatnonzero(self.kept)
        if not len(counted):
            raise DataError("a block of the text has no token that counts")
        sinks = np.flatnonzero(self.flags[slots])
        generator = np.random.default_rng(seeded(seed, "sinks", number))
        slots[sinks] = counted[generator.integers(len(counted), size=len(sinks))]
        slots = slots[_permutation(len(slots), seed, "halves", number)]
        middle = (len(slots) + 1) // 2
        return slots[middle:] if half else slots[:middle]


def _check_device(model: Model, sharing: Sharing) -> None:
    if torch.device(sharing.device).type != model.device.type:
        raise InputError(
            f"{model.name} is on {model.device}, and the processes that share it on "
            f"{sharing.device}",
            expected="one kind of device",
            next_step=f"open the model with device={sharing.device!r}",
        )


def _permutation(size: int, seed: int, what: str, number: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.random.default_rng(seeded(seed, what, number)).permutation(size)
    return found


def _joined(parts: list[dict[str, Tensor]], rows: slice) -> dict[str, Tensor]:
    if len(parts) == 1:
        return {name: x[rows] for name, x in parts[0].items()}
    return {name: torch.cat([part[name] for part in parts])[rows] for name in parts[0]}
