"""Checkpoints: the whole state of a run, written atomically.

1. Every random draw derives from the seed and the step number, so that the step is both the data
   cursor and the random state; with weights, moments and silent counts the state is complete.
2. A single process writes one file. Several write a folder `checkpoint-<step>`, each the shards
   that it holds (see `shards`).
3. A run resumes from the later of the two, with any number of processes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inscape.core import InputError
from inscape.storage import (
    is_lock,
    is_temporary,
    read_json,
    read_tensors,
    remove,
    tensor_metadata,
    write_tensors,
)
from inscape.training.log import LOG
from inscape.training.ranks import WHOLE
from inscape.training.shards import STATE, read_shards, write_shards
from inscape.training.trainer import Trainer

FILE = "checkpoint.safetensors"
FOLDER = "checkpoint-"
VERSION = 1
_GROUPS = ("weights", "mean", "square")


def save_checkpoint(
    folder: Path, trainer: Trainer, request: dict[str, Any], *, log_bytes: int
) -> None:
    """Write the state of `trainer` after its last step; every process has to call this.

    Args:
        folder: where the checkpoint is.
        request: what is being trained, compared on resuming.
        log_bytes: length of the log at this step; on resuming, later lines are cut off.

    Raises:
        StorageError: the disk is full; the previous checkpoint is kept.
        PeerError: another process has ended, or could not write; the previous one is kept.
    """
    state = {
        "version": VERSION,
        "step": trainer.num_steps,
        "log_bytes": log_bytes,
        "request": request,
    }
    path = folder / FILE
    if trainer.ranks.alone:
        arrays = {name: value.cpu().numpy() for name, value in _tensors(trainer).items()}
        write_tensors(path, arrays, {"state": json.dumps(state)}, checksum=True)
    else:
        path = folder / f"{FOLDER}{trainer.num_steps}"
        write_shards(path, _sharded(trainer), state, trainer.ranks)
    if trainer.ranks.first:
        for old in _places(folder):
            if old != path:
                remove(old)


def load_checkpoint(folder: Path, trainer: Trainer, request: dict[str, Any]) -> int:
    """Load the stored state into the trainer, if there is one; returns the log's length.

    Raises:
        InputError: the checkpoint belongs to another run; the first difference is named.
        StorageError: it is corrupt.
    """
    path = _last(folder, trainer)
    if path is None:
        return 0
    state = _state(path)
    if state["version"] != VERSION:
        raise InputError(
            f"{path}: found version {state['version']} of a checkpoint, "
            f"this inscape reads {VERSION}",
            next_step=f"finish that run with the inscape that began it, or remove {folder}",
        )
    refuse_difference(state["request"], request, folder)
    if path.name == FILE:
        arrays, part = read_tensors(path), trainer.ranks.shard(trainer.shape.d_dict)
        for name, tensor in _tensors(trainer).items():
            whole = torch.from_numpy(np.array(arrays[name]))
            shared = _by_feature(name) and trainer.ranks.num_features > 1
            tensor.copy_(whole[part] if shared else whole)
    else:
        read_shards(path, _sharded(trainer))
    trainer.num_steps = int(state["step"])
    return int(state["log_bytes"])


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The state by name: this process's part of it."""
    found = {
        f"{group}.{key}": getattr(trainer, group)[key]
        for group in _GROUPS
        for key in trainer.weights
    }
    found |= {f"variant.{key}": value for key, value in trainer.variant.state.items()}
    return {**found, "silent_tokens": trainer.silent_tokens}


def _by_feature(name: str) -> bool:
    """Whether the first axis of a state tensor is the feature axis."""
    kind, _, key = name.partition(".")
    return kind != "variant" and key not in WHOLE


def _sharded(trainer: Trainer) -> dict[str, Tensor]:
    """The state as torch.distributed expects it: sharded tensors as DTensors."""
    return {
        name: trainer.ranks.sharded(tensor) if _by_feature(name) else tensor
        for name, tensor in _tensors(trainer).items()
    }


def is_run(folder: Path) -> bool:
    """Whether a folder belongs to a run in progress, and holds nothing else."""
    inside = list(folder.iterdir())
    known = {folder / LOG, *_places(folder), *filter(is_lock, inside)}
    ours = all(path in known or is_temporary(path.name) for path in inside)
    return ours and any(map(is_lock, inside))


def _places(folder: Path) -> list[Path]:
    """The checkpoints in a folder: one, except briefly while it is being replaced."""
    return [path for path in folder.iterdir() if path.name == FILE or path.name.startswith(FOLDER)]


def _state(path: Path) -> dict[str, Any]:
    """The metadata of a checkpoint."""
    if path.name == FILE:
        return dict(json.loads(tensor_metadata(path)["state"]))
    return dict(read_json(path / STATE))


def _last(folder: Path, trainer: Trainer) -> Path | None:
    """The last checkpoint. The first process decides, and removes what an interruption left."""
    step = 0  # below zero for that of several processes
    if trainer.ranks.first:
        for left in list(folder.iterdir()):
            if is_temporary(left.name):
                remove(left)
        for path in _places(folder):
            found = int(_state(path)["step"])
            if found > abs(step):
                step = found if path.name == FILE else -found
    step = int(trainer.ranks.over_all(torch.tensor(step, device=trainer.ranks.device)))
    if not step:
        return None
    return folder / (FILE if step > 0 else f"{FOLDER}{-step}")


def refuse_difference(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """InputError that names the first entry in which a stored run differs from the wanted one."""
    # A stored request has been through JSON; compare like with like.
    wanted = json.loads(json.dumps(wanted))
    difference = _first_difference(found, wanted)
    if difference is not None:
        name, had, wants = difference
        raise InputError(
            f"{folder} was trained with another {name} ({had} there, {wants} asked for)",
            next_step="choose another folder, or remove that one",
        )


def _first_difference(found: Any, wanted: Any, name: str = "") -> tuple[str, Any, Any] | None:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in {**found, **wanted}:
            inner = f"{name}.{key}" if name else key
            difference = _first_difference(found.get(key), wanted.get(key), inner)
            if difference is not None:
                return difference
        return None
    return None if found == wanted else (name, found, wanted)
