"""Sharded checkpoints: each process writes its shards; any number of processes can read them.

1. torch.distributed.checkpoint plans which process writes which part (replicated tensors are
   written once), in safetensors files that record where their parts belong. No pickle.
2. They are written into a hidden folder. When all are on disk, the first process adds the state and
   renames the folder: a checkpoint appears atomically.
3. To read, each process requests the shards that it holds now, whichever files contain them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, distributed

from inscape.core import PeerError, StorageError
from inscape.storage import disk_errors, file_hash, read_json, remove, temporary_name, write_json
from inscape.training.ranks import Ranks, peers

STATE = "state.json"


def write_shards(
    path: Path, tensors: dict[str, Tensor], state: dict[str, Any], ranks: Ranks
) -> None:
    """Write the folder `path`; every process has to call this.

    Args:
        tensors: by name; sharded ones as DTensors, the others replicated on all processes.
        state: further state, as JSON.

    Raises:
        StorageError: the disk of this process is full.
        PeerError: another process has ended, or could not write.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    temporary = temporary_name(path, "0" * 8)  # the same on all processes
    try:
        if ranks.first:
            with disk_errors(path):
                temporary.mkdir()
        ranks.meet()
        writer = HuggingFaceStorageWriter(str(temporary), save_distributed=True)
        with disk_errors(path), _failures(path, "write"):
            save(tensors, storage_writer=writer)
        if ranks.first:
            with disk_errors(path):
                write_json(temporary / STATE, {**state, "files": _hashes(temporary)})
                os.rename(temporary, path)
        ranks.meet()  # nobody continues before it exists
    finally:
        if ranks.first:
            remove(temporary)


def read_shards(path: Path, tensors: dict[str, Tensor]) -> None:
    """Fill tensors, given as to `write_shards`, in place; every process has to call this.

    Raises:
        StorageError: a file is missing or corrupt.
        PeerError: another process has ended, or could not read.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    recorded = read_json(path / STATE)["files"]
    found = _hashes(path)
    for name, digest in recorded.items():
        if found.get(name) != digest:
            raise _corrupt(path / name, "not as it was written")
    with _failures(path, "read"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is one process alone
        load(tensors, storage_reader=HuggingFaceStorageReader(str(path)))


def _hashes(folder: Path) -> dict[str, str]:
    return {file.name: file_hash(file) for file in sorted(folder.glob("*.safetensors"))}


def _corrupt(path: Path, why: object) -> StorageError:
    return StorageError(
        f"{path} is missing, half-written or corrupt ({why})",
        next_step=f"remove {path.parent} and train from the start",
    )


@contextmanager
def _failures(path: Path, verb: str) -> Iterator[None]:
    """This process's own failure as its error; on the others, a PeerError for it."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with peers():
            yield
    except CheckpointException as error:
        number = distributed.get_rank() if distributed.is_initialized() else 0
        if number not in error.failures:
            raise PeerError(
                f"process {min(error.failures)} could not {verb} {path}",
                next_step="look at what it says, and run the same command again",
            ) from error
        own = error.failures[number][0]
        if verb == "write" or not isinstance(own, Exception):
            raise own from error
        raise _corrupt(path, own) from error
