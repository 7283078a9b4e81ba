"""The hash that ties dictionaries, stores and indices to the model they were made from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

WHOLE_UP_TO = 64 * 2**20  # bytes; larger files are hashed by size, head and tail
_END = 2**20

_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a Hugging Face folder: safetensors, else torch pickles."""
    for pattern in _WEIGHTS:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if found:
            return found
    return []


def folder_hash(folder: Path) -> str:
    """sha256 over config.json and the weight files of `folder`.

    Files of up to 64 MiB are hashed whole; of larger ones the size and the first and last
    MiB, so that a 100 GB model opens at once. The folder's place and name do not count.
    """
    digest = hashlib.sha256()
    for path in [folder / "config.json", *weight_files(folder)]:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        _add_file(digest, path)
    return digest.hexdigest()


def _add_file(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE_UP_TO:
            while chunk := file.read(_END):
                digest.update(chunk)
            return
        digest.update(file.read(_END))
        file.seek(size - _END)
        digest.update(file.read(_END))


def module_hash(module: nn.Module) -> str:
    """sha256 over the config and the weights of a module that came from no folder.

    Tensors of up to 64 MiB count whole, of larger ones the size and both ends.
    """
    digest = hashlib.sha256()
    config: Any = getattr(module, "config", None)
    settings = config.to_dict() if hasattr(config, "to_dict") else {}
    for volatile in ("_name_or_path", "transformers_version"):
        settings.pop(volatile, None)
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().reshape(-1)
        step = _END // max(flat.element_size(), 1)
        if flat.numel() * flat.element_size() > WHOLE_UP_TO:
            flat = torch.cat([flat[:step], flat[-step:]])
        digest.update(flat.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
