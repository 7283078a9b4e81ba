"""The hash that ties dictionaries, stores and indices to the weights they were made from.

1. Each tensor of the state dict counts with its name, its shape and its values as float32: a
   model has one hash opened from a folder or wrapped, in float32 or as it was stored.
2. So does the config where it differs from its family's defaults (later versions of transformers
   add settings), without names, versions, the type of the weights and special tokens.
3. Of a folder it is found once, from the weights as stored; see `storage.remembered`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
_CHUNK = 2**22  # values at a time
_IGNORED = re.compile(
    r"_.*|(torch_)?dtype|transformers_version|architectures|use_cache|.*token_ids?"
)


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a Hugging Face folder: safetensors, else torch pickles."""
    for pattern in _WEIGHTS:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if found:
            return found
    return []


def module_hash(module: nn.Module) -> str:
    """sha256 over the config and all weights of a loaded model."""
    config: Any = module.config
    digest = hashlib.sha256()
    settings = [config.model_type, _differing(config.to_dict(), _defaults(config))]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    state = sorted(module.state_dict().items())
    with ThreadPoolExecutor() as pool:  # hashlib releases the interpreter's lock
        for line in pool.map(_line, state):
            digest.update(line)
    return digest.hexdigest()


def _defaults(config: Any) -> Any:
    try:
        return type(config)().to_dict()
    except Exception:  # a class that cannot be made without arguments: all of it counts
        return {}


def _differing(settings: dict[Any, Any], defaults: Any) -> dict[str, Any]:
    known = defaults if isinstance(defaults, dict) else {}
    found = {}
    for key, value in settings.items():
        if _IGNORED.fullmatch(str(key)) or value == known.get(key):
            continue
        found[str(key)] = _differing(value, known.get(key)) if isinstance(value, dict) else value
    return found


def _line(item: tuple[str, Any]) -> bytes:
    name, tensor = item
    if not isinstance(tensor, Tensor):  # what quantised layers keep with their weights
        return f"{name} {tensor!r}\n".encode()
    digest = hashlib.sha256()
    for part in _parts(tensor.detach().reshape(-1)):
        digest.update(part.cpu().contiguous().view(torch.uint8).numpy().data)
    kind = "float" if tensor.is_floating_point() else str(tensor.dtype)
    return f"{name} {kind} {tuple(tensor.shape)} {digest.hexdigest()}\n".encode()


def _parts(flat: Tensor) -> Iterator[Tensor]:
    wide = flat.dtype == torch.float64
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        yield part.float() if part.is_floating_point() and not wide else part
