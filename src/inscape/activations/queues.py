"""Work concurrent with the training steps: on a GPU, in a queue of its own (a CUDA stream).

1. Work launched within the queue runs there in order while the GPU continues with the steps. One
   thread launches both and waits for neither.
2. `begin` makes the queue wait for everything launched on the GPU so far; `end` makes everything
   launched on the GPU afterwards wait for the queue.
3. Indices are copied to a GPU from pinned memory: a copy from pageable memory would synchronise.

On a CPU there is one queue: everything runs in order, at once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


class SingleQueue:
    """A single queue for everything.

    Attributes:
        concurrent: whether there is a second queue, concurrent with the steps.
    """

    concurrent = False

    def within(self) -> AbstractContextManager[object]:
        """Work launched within this context goes to the queue."""
        return nullcontext()

    def begin(self) -> None:
        """The queue waits for all work launched so far."""

    def end(self) -> None:
        """All work launched from now on waits for the queue."""

    def uses(self, x: Tensor) -> None:
        """Keep the memory of `x`, once freed, from being reused before the queue has finished."""


class ConcurrentQueue(SingleQueue):
    """A separate stream on a GPU, next to the caller's current stream."""

    concurrent = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def within(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream)

    def begin(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def end(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def uses(self, x: Tensor) -> None:
        x.record_stream(self._stream)


def concurrent_queue(device: torch.device) -> SingleQueue:
    """The queue of a device for work concurrent with the steps."""
    return ConcurrentQueue(device) if device.type == "cuda" else SingleQueue()


def pinned(x: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor, pinned if the device is a GPU, so that copies are asynchronous."""
    return x.pin_memory() if device.type == "cuda" else x


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor, copied to the device without waiting."""
    return pinned(x, device).to(device, non_blocking=device.type == "cuda")
