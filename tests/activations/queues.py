"""Queues beside the steps, pretended on a processor, where all is done in its turn.

`Pieces` makes a source read by pieces. `Queues` notes besides, while it is entered, what is asked
of which queue, and refuses what a card with two queues might do in another order:

1. Every operation has a number in its queue; each queue knows up to which number of the other one
   it has waited.
2. A row that one queue has written may be read or written by the other one, and a row that one has
   read may be written by the other one, once it has waited for that.
3. A tensor made in one queue is no matter of the other one: its memory might be used again. The
   rooms of blocks are.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from inscape.activations import online
from inscape.activations.queues import SingleQueue

_STEPS, _ASIDE = 0, 1


class Pieces(SingleQueue):
    """Blocks are read by pieces, in turn with the steps."""

    concurrent = True


@contextmanager
def reading_with(queue: SingleQueue) -> Iterator[None]:
    """Sources that are made within it use this queue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(online, "concurrent_queue", lambda device: queue)
        yield


class Queues(TorchDispatchMode, SingleQueue):
    """Two queues: what is asked within this one, and the rest."""

    concurrent = True

    def __init__(self) -> None:
        super().__init__()
        self._now = _STEPS
        self._asked = [0, 0]
        self._waited = [0, 0]  # of each queue: how far it has waited for the other one
        # by address: a tensor there, while there is one, and the queue that has made it
        self._made: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._rooms: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.accesses = [0, 0]  # of rows of rooms, by queue

    def within(self) -> AbstractContextManager[object]:
        @contextmanager
        def switched() -> Iterator[None]:
            self._now = _ASIDE
            yield
            self._now = _STEPS

        return switched()

    def begin(self) -> None:
        self._waited[_ASIDE] = self._asked[_STEPS]

    def end(self) -> None:
        self._waited[_STEPS] = self._asked[_ASIDE]

    def uses(self, x: Tensor) -> None:
        read, written = (np.zeros((2, len(x)), np.int64) for _ in range(2))
        self._rooms[x.untyped_storage().data_ptr()] = (read, written)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._asked[self._now] += 1
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        changes = any(a.alias_info and a.alias_info.is_write for a in func._schema.arguments)
        view = not changes and any(r.alias_info for r in func._schema.returns)
        for place, x in enumerate(given):
            address = x.untyped_storage().data_ptr()
            if address not in self._rooms:
                made, queue = self._made.get(address, (lambda: None, self._now))
                alien = made() is not None and queue != self._now
                assert not alien, f"{func} of what the other queue has made"
            elif not view:
                index = args[2].numpy() if "index_" in str(func) and place == 0 else slice(None)
                first = x.storage_offset() // x.shape[1]
                self._touch(address, np.arange(first, first + len(x))[index], changes and not place)
        found = func(*args, **kwargs)
        known = {x.untyped_storage().data_ptr() for x in given}
        for x in tree_flatten(found)[0]:
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in known:
                self._made[x.untyped_storage().data_ptr()] = weakref.ref(x), self._now
        return found

    def _touch(self, room: int, rows: np.ndarray, writes: bool) -> None:
        read, written = self._rooms[room]
        now, other, waited = self._now, 1 - self._now, self._waited[self._now]
        assert (written[other, rows] <= waited).all(), "the other queue may write them still"
        assert not writes or (read[other, rows] <= waited).all(), "it may read them still"
        (written if writes else read)[now, rows] = self._asked[now]
        self.accesses[now] += len(rows)
