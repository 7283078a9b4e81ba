"""Checkpoints: the whole state of a run in one file, there as a whole or not at all.

Every random draw derives from the seed and the number of the step, so that the step is the data
cursor and the random state in one; with weights, moments and silent counts it is all there is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inscape.core import InputError
from inscape.storage import read_tensors, tensor_metadata, write_tensors
from inscape.training.trainer import Trainer

FILE = "checkpoint.safetensors"
VERSION = 1
_GROUPS = ("weights", "mean", "square")


def save_checkpoint(
    folder: Path, trainer: Trainer, request: dict[str, Any], *, log_bytes: int
) -> None:
    """Write the state of `trainer` after its last step.

    Args:
        folder: where the checkpoint is.
        request: what is being trained, compared when the run goes on.
        log_bytes: length of the log at this step; what a later, lost part wrote is cut off.

    Raises:
        StorageError: the disk is full; the checkpoint before stays.
    """
    arrays = {
        f"{group}.{key}": getattr(trainer, group)[key].cpu().numpy()
        for group in _GROUPS
        for key in trainer.weights
    }
    for key, value in trainer.variant.state.items():
        arrays[f"variant.{key}"] = value.cpu().numpy()
    arrays["silent_tokens"] = trainer.silent_tokens.cpu().numpy()
    state = {
        "version": VERSION,
        "step": trainer.num_steps,
        "log_bytes": log_bytes,
        "request": request,
    }
    write_tensors(folder / FILE, arrays, {"state": json.dumps(state)})


def load_checkpoint(folder: Path, trainer: Trainer, request: dict[str, Any]) -> int:
    """Put the trainer into the stored state, if there is one; returns the log's length.

    Raises:
        InputError: the checkpoint belongs to another run; the first difference is named.
        StorageError: it is corrupt.
    """
    path = folder / FILE
    if not path.is_file():
        return 0
    arrays = read_tensors(path)
    state = json.loads(tensor_metadata(path)["state"])
    if state["version"] != VERSION:
        raise InputError(
            f"{path}: found version {state['version']} of a checkpoint, "
            f"this inscape reads {VERSION}",
            next_step=f"finish that run with the inscape that began it, or remove {folder}",
        )
    refuse_difference(state["request"], request, folder)
    for group in _GROUPS:
        for key in trainer.weights:
            tensor = getattr(trainer, group)[key]
            tensor.copy_(torch.from_numpy(np.array(arrays[f"{group}.{key}"])))
    for key in trainer.variant.state:
        stored = torch.from_numpy(np.array(arrays[f"variant.{key}"]))
        trainer.variant.state[key] = stored
    trainer.silent_tokens.copy_(torch.from_numpy(np.array(arrays["silent_tokens"])))
    trainer.num_steps = int(state["step"])
    return int(state["log_bytes"])


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
