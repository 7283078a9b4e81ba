"""Prefetching: the next batch is prepared while a training step runs on the GPU.

1. One background thread reads the next batch from disk and copies it to the GPU on its own CUDA
   stream, so that neither waits for the running step.
2. The step's stream, not the CPU, waits for that copy.
3. A single thread draws all batches: their order and their bits are unchanged.
4. A source whose first batch is already on a GPU (this one or another) makes its batches there.
   They are drawn on demand, on the training thread and stream: processes that make batches together
   would otherwise issue collectives in different orders (NCCL may hang). Such a source overlaps its
   own work with the steps (`activations.queues`), and the step copies batches from another GPU.

On a CPU the steps take all cores, and nothing is prefetched.
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
def prefetched(batches: Iterator[Batch], device: str) -> Iterator[Iterator[Batch]]:
    """The batches; on a GPU prefetched by one and copied there, unless they are made there."""
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
            x.record_stream(stream)  # its memory must not be reused before the step is over
        return batch

    with one_ahead(draw) as found:
        yield from_first(batches, (wait(one) for one in found), device)


def from_first(batches: Iterator[Batch], ahead: Iterator[Batch], device: str) -> Iterator[Batch]:
    """The first batch, which shows where batches are made, then the others: directly if on this
    kind of device, else from `ahead`."""
    first = next(batches, None)
    if first is None:
        return
    yield {site: x.to(device) for site, x in first.items()}
    there = all(x.device.type == torch.device(device).type for x in first.values())
    yield from batches if there else ahead


@contextmanager
def one_ahead(draw: Callable[[], T]) -> Iterator[Iterator[T]]:
    """The results of successive `draw` calls, each computed while the one before is used; an
    exception is raised when its turn comes."""
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
