"""Small changes of the bundled weights, kept as files of a few kilobytes.

A patch file holds, for each changed weight, two thin factors: `<weight>.left` [rows, rank] and
`<weight>.right` [columns, rank]; applied, the weight grows by left times right transposed. Its
metadata says which weights it was made for, what it is called, and what was measured of it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inscape.core import DataError, InputError
from inscape.model import Model
from inscape.storage import read_tensors, tensor_metadata, write_tensors
from inscape_microworld.bundle import FOLDER, open_model

PATCHES = FOLDER / "patches"
VERSION = 1
_KIND, _SUFFIX = "inscape patch", ".safetensors"


@dataclass(frozen=True, eq=False)
class Patch:
    """Low-rank changes of some weights.

    base: `Model.hash` of the model it was made for.
    factors: weight name → (left [rows, rank], right [columns, rank]), float32.
    made: how, in a sentence.
    figures: what was measured of the patched model when the patch was made.
    """

    name: str
    base: str
    factors: Mapping[str, tuple[Tensor, Tensor]]
    made: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def write_patch(path: Path, patch: Patch) -> None:
    """Write `patch` as one safetensors file, whole or not at all.

    Raises:
        StorageError: the disk is full or may not be written to.
    """
    arrays = {}
    for name, (left, right) in patch.factors.items():
        arrays[f"{name}.left"] = np.asarray(left.detach().cpu().float())
        arrays[f"{name}.right"] = np.asarray(right.detach().cpu().float())
    metadata = {
        "kind": _KIND,
        "version": str(VERSION),
        "name": patch.name,
        "base": patch.base,
        "made": patch.made,
        "figures": json.dumps(dict(patch.figures)),
        "ranks": json.dumps({name: left.shape[1] for name, (left, _) in patch.factors.items()}),
    }
    write_tensors(path, arrays, metadata)


def read_patch(path: Path) -> Patch:
    """The patch in a file.

    Raises:
        StorageError: the file is missing, half-written or corrupt.
        DataError: it is no patch, or a newer version's.
    """
    arrays, metadata = read_tensors(path), tensor_metadata(path)
    if metadata.get("kind") != _KIND:
        raise DataError(f"{path} is no patch", expected="a file that write_patch has written")
    if int(metadata["version"]) > VERSION:
        raise DataError(
            f"{path}: found version {metadata['version']} of {_KIND}, "
            f"this inscape reads up to {VERSION}",
            next_step="upgrade inscape",
        )
    factors = {
        name: (torch.from_numpy(arrays[f"{name}.left"]), torch.from_numpy(arrays[f"{name}.right"]))
        for name in json.loads(metadata["ranks"])
    }
    figures: dict[str, float] = json.loads(metadata["figures"])
    return Patch(metadata["name"], metadata["base"], factors, metadata["made"], figures)


def apply_patch(model: Model, patch: Patch) -> Model:
    """A new model with the patched weights; `model` stays as it is and shares none of them.

    Raises:
        DataError: the patch was made for other weights, or names weights that are not there.
    """
    if model.hash != patch.base:
        raise DataError(
            f"the patch {patch.name!r} was made for weights {patch.base[:12]}…",
            expected=f"one for {model.name}, whose weights are {model.hash[:12]}…",
            next_step="make it again: python -m inscape_microworld.edits --out FOLDER",
        )
    module = copy.deepcopy(model.module)
    weights = dict(module.named_parameters())
    for name, (left, right) in patch.factors.items():
        change = left @ right.T
        weight = weights.get(name)
        if weight is None or weight.shape != change.shape:
            found = "absent" if weight is None else f"of shape {tuple(weight.shape)}"
            raise DataError(
                f"the patch {patch.name!r} changes {name}, which is {found}",
                expected=f"a weight of shape {tuple(change.shape)}",
            )
        weight.data += change.to(device=weight.device, dtype=weight.dtype)
    return Model.wrap(module, model.tokenizer, f"{model.name}+{patch.name}")


def patch_names() -> list[str]:
    """The names of the patches that come with the package."""
    return sorted(path.stem for path in PATCHES.glob(f"*{_SUFFIX}"))


def patch_path(folder: Path, name: str) -> Path:
    """Where the patch called `name` lies in `folder`."""
    return folder / f"{name}{_SUFFIX}"


def open_edited(name: str, *, device: str | None = None) -> Model:
    """The bundled model with the patch called `name` applied.

    Raises:
        InputError: there is no such patch.
        DataError: the patch was made for other weights than the bundled ones.
    """
    known = patch_names()
    if name not in known:
        raise InputError(
            f"unknown edited model {name!r}",
            expected="one of " + ", ".join(known) if known else "a package with patches",
            next_step="correct the name"
            if known
            else f"make them: python -m inscape_microworld.edits --out {PATCHES}",
        )
    return apply_patch(open_model(device=device), read_patch(patch_path(PATCHES, name)))
