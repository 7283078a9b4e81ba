"""The next batch is made while a step runs, where a graphics card does the steps.

1. One thread draws the next batch: it reads the disk, and copies the batch to the card, on a stream
   of its own, so that neither waits for the step that is running.
2. The step's stream waits for that copy, not the processor.
3. Batches come one after the other from one thread: in the same order, with the same bits.
4. A source whose first batch lies on a card already, this one or another, makes them there. These
   are drawn when they are asked for, by the thread and on the stream of the steps: processes that
   make batches together would say things in two orders otherwise (NCCL may hang then). Such a
   source itself sees to what can be done beside the steps (`activations.aside`), and the step moves
   what comes from another card.

On a processor the steps take all cores, and nothing is drawn ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Batch = dict[str, Tensor]
T = TypeVar("T")


@contextmanager
def drawn(batches: Iterator[Batch], device: str) -> Iterator[Iterator[Batch]]:
    """The batches; on a card one of them ahead, and moved there, unless they are made there."""
    if not device.startswith("cuda"):
        yield batches
        return
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def draw() -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.stream(side):
            batch = {
                site: x.pin_memory().to(device, non_blocking=True)
                for site, x in next(batches).items()
            }
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(side)
        return batch, event

    def wait(found: tuple[Batch, torch.cuda.Event]) -> Batch:
        batch, event = found
        stream = torch.cuda.current_stream(device)
        event.wait(stream)
        for x in batch.values():
            x.record_stream(stream)  # its memory is not to be used again before the step is over
        return batch

    with one_ahead(draw) as found:
        yield from_first(batches, (wait(one) for one in found), device)


def from_first(batches: Iterator[Batch], ahead: Iterator[Batch], device: str) -> Iterator[Batch]:
    """The first batch as it comes, which tells where the others are made: on a device of this
    kind, and they come as they are, or not, and they come by `ahead`."""
    first = next(batches, None)
    if first is None:
        return
    yield {site: x.to(device) for site, x in first.items()}
    there = all(x.device.type == torch.device(device).type for x in first.values())
    yield from batches if there else ahead


@contextmanager
def one_ahead(draw: Callable[[], T]) -> Iterator[Iterator[T]]:
    """What `draw` gives, call after call, each made while what came before is used; what it raises
    is raised when its turn comes."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:

        def found() -> Iterator[T]:
            pending = thread.submit(draw)
            while True:
                try:
                    value = pending.result()
                except StopIteration:
                    return
                pending = thread.submit(draw)
                yield value

        yield found()
