"""Arrays in safetensors files, without torch; bf16 comes and goes as ml_dtypes.bfloat16."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from inscape.core import StorageError
from inscape.storage.atomic import atomic_file, reading

_CHECKSUM = "sha256"
_AGAIN = "remove it and run the command that makes it again"
_NAMES = {np.dtype(f"float{n}"): f"F{n}" for n in (64, 32, 16)}
_NAMES |= {
    np.dtype(f"{kind}{n}"): f"{kind[0].upper()}{n}"
    for kind in ("int", "uint")
    for n in (64, 32, 16, 8)
}
_NAMES |= {np.dtype(ml_dtypes.bfloat16): "BF16", np.dtype(np.bool_): "BOOL"}


def write_tensors(
    path: Path,
    tensors: Mapping[str, np.ndarray[Any, Any]],
    metadata: Mapping[str, str] | None = None,
    *,
    checksum: bool = False,
) -> None:
    """Writes named arrays as one safetensors file, whole or not at all, without a copy of them all
    in memory. With `checksum` the file holds one of their content, which `read_tensors` compares.

    Raises:
        StorageError: the disk is full or may not be written to.
        TypeError: an array has a type that the format does not have.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    if checksum:
        header["__metadata__"] = {**(metadata or {}), _CHECKSUM: _digest(tensors)}
    offset = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise TypeError(f"tensor {name!r} has dtype {tensor.dtype}, not one of safetensors'")
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # data starts aligned, so that it can be mapped
    with atomic_file(path) as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors.values():
            file.write(_bytes(tensor))


def _bytes(tensor: np.ndarray[Any, Any]) -> memoryview:
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def _digest(tensors: Mapping[str, np.ndarray[Any, Any]]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(_bytes(tensors[name]))
    return found.hexdigest()


def read_tensors(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """The named arrays of a safetensors file, or all of them.

    Raises:
        StorageError: the file is missing, not readable, half-written or corrupt, or lacks a name.
    """
    path = Path(path)
    with reading(path, _AGAIN, SafetensorError, OSError), safe_open(path, framework="np") as file:
        found = list(file.keys())
        for name in names or ():
            if name not in found:
                raise StorageError(
                    f"{path} has no tensor {name!r}", expected=f"one of {', '.join(found)}"
                )
        tensors = {name: file.get_tensor(name) for name in (names or found)}
        digest = (file.metadata() or {}).get(_CHECKSUM)
    if names is None and digest is not None and digest != _digest(tensors):
        raise StorageError(f"{path} differs from its checksum", next_step=_AGAIN)
    return tensors


def tensor_metadata(path: Path) -> dict[str, str]:
    """The free-text metadata of a safetensors file.

    Raises:
        StorageError: the file is missing, not readable, half-written or corrupt.
    """
    with reading(path, _AGAIN, SafetensorError, OSError), safe_open(path, framework="np") as file:
        return dict(file.metadata() or {})
