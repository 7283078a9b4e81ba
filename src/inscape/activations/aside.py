"""Work beside the steps: on a card, in a queue of its own (a CUDA stream).

1. What is asked for within the queue is done there in its order, while the card goes on with the
   steps. One thread asks for both, and waits for neither.
2. At the beginning of such work the queue waits for all that the card was asked for before; at its
   end, all that the card is asked for from then on waits for the queue.
3. Places go to a card from pinned memory: a copy from elsewhere would wait for the card.

A processor has one queue: everything is done in its turn, at once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


class InTurn:
    """One queue for everything.

    Attributes:
        apart: whether there is another one, for work beside the steps.
    """

    apart = False

    def within(self) -> AbstractContextManager[object]:
        """What is asked for within it is asked of the queue."""
        return nullcontext()

    def begin(self) -> None:
        """The queue waits for all that was asked for so far."""

    def end(self) -> None:
        """All that is asked for from now on waits for the queue."""

    def uses(self, x: Tensor) -> None:
        """Once `x` is given up, its memory stays until the queue has done what it was asked for."""


class Apart(InTurn):
    """A queue of its own on a card, beside the one that its caller asks."""

    apart = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def within(self) -> AbstractContextManager[object]:
        """See the base."""
        return torch.cuda.stream(self._stream)

    def begin(self) -> None:
        """See the base."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def end(self) -> None:
        """See the base."""
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def uses(self, x: Tensor) -> None:
        """See the base."""
        x.record_stream(self._stream)


def beside(device: torch.device) -> InTurn:
    """The queue for work beside the steps on a device."""
    return Apart(device) if device.type == "cuda" else InTurn()


def pinned(x: Tensor, device: torch.device) -> Tensor:
    """What lies on the CPU, so that a copy to the device need not wait for it."""
    return x.pin_memory() if device.type == "cuda" else x


def sent(x: Tensor, device: torch.device) -> Tensor:
    """What lies on the CPU, on the device."""
    return pinned(x, device).to(device, non_blocking=device.type == "cuda")
