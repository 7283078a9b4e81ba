"""Start-up and shutdown of the processes of one distributed training run.

1. torchrun (or any launcher that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT) starts them;
   without these variables there is a single process.
2. The first process to fail records it in the rendezvous store and raises its error. The others
   read that and exit silently with code 2, so that the failure is reported in one line.
3. A PeerError is reported only GRACE seconds later, so that the process at fault reports first.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from inscape.core import InputError, InscapeError, PeerError, Stopped
from inscape.training.ranks import Mesh, Ranks

MEETING = timedelta(minutes=30)
"""How long one process waits for another, at start-up and at any step."""
GRACE = 3.0
"""Seconds that the process at fault has to report before processes that only lost contact."""
_ENDED = "ended"
_meetings = itertools.count()


@contextmanager
def connected(num_features: int = 1, *, device: str = "cpu") -> Iterator[Ranks]:
    """The process group of this training run, for the duration of a `with` block.

    After an error SIGTERM is ignored: the process is exiting anyway, and the launcher, which
    terminates the remaining processes, must not cut off the error message.

    Args:
        num_features: processes that share the features; the others share the rows of each batch.
        device: where each process trains: "cpu" (gloo), or "cuda" (NCCL; each takes the GPU of its
            local rank).

    Raises:
        InputError: the world size is not a multiple of `num_features`, or the rendezvous fails.
        SystemExit: on all but the first process to fail, which raises its own error.
    """
    number, world = (int(os.environ.get(key, "0")) for key in ("RANK", "WORLD_SIZE"))
    if world <= 1:
        if num_features != 1:
            raise InputError(
                f"one process cannot share the features {num_features} ways",
                expected=f"a multiple of {num_features} processes",
                next_step=f"torchrun --nproc-per-node {max(num_features, 2)} -m inscape ...",
            )
        yield Ranks(device)
        return
    from torch import distributed

    device = device.partition(":")[0]
    store = _meet(device)
    try:
        yield Mesh(num_features, device=device)
    except (Exception, KeyboardInterrupt) as error:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(error, store, number, world)
        raise
    finally:
        distributed.destroy_process_group()


def _meet(device: str) -> Any:
    """The rendezvous store, once all processes have joined."""
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    place = ":".join(os.environ.get(key, "?") for key in ("MASTER_ADDR", "MASTER_PORT"))
    try:
        met, number, world = next(rendezvous("env://", timeout=MEETING))
        # Consecutive trainings share the store: a prefix keeps their keys separate.
        store = PrefixStore(f"inscape-{next(_meetings)}", met)
        if device.startswith("cuda"):
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group(
            "nccl" if device.startswith("cuda") else "gloo",
            store=store,
            rank=number,
            world_size=world,
            timeout=MEETING,
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the processes do not find each other at {place} ({str(error).splitlines()[0]})",
            next_step="start them with torchrun, all with the same --rdzv-endpoint",
        ) from error
    return store


def _end(error: BaseException, store: Any, number: int, world: int) -> None:
    """Returns if this process is the one to raise its error; otherwise exits.

    Raises:
        SystemExit: another process has already reported the failure.
    """
    known = isinstance(error, InscapeError | KeyboardInterrupt)
    if isinstance(error, InscapeError) and not isinstance(error, Stopped):
        error.what = f"process {number} of {world}: {error.what}"
    own = f"{number} {str(error) or type(error).__name__}"
    first = own
    with suppress(RuntimeError):  # the store may have ended with the process that held it
        if isinstance(error, PeerError):
            until = time.monotonic() + GRACE
            while time.monotonic() < until and not store.check([_ENDED]):
                time.sleep(0.05)
        first = store.compare_set(_ENDED, "", own).decode()
    _note(first.partition(" ")[2])
    if known and first != own:
        raise SystemExit(2)


def _note(line: str) -> None:
    """Write the error where torchrun looks for it, so that its summary shows it."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is None:
        return
    found = {"py_callstack": line, "timestamp": str(int(time.time()))}
    with suppress(OSError), open(path, "w") as file:
        json.dump({"message": {"message": line, "extraInfo": found}}, file)
