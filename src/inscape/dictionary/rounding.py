"""Weights in fewer bits, for dictionaries that are shared: a quarter or half of the size.

1. float32: as they are. bfloat16: the matrices rounded to 8 bits of mantissa.
2. int8: each row of a matrix w becomes round(w / s) with its own scale s = max |w| / 127, stored
   beside it in float32.

Vectors (biases, thresholds) stay in float32. Reading gives float32 again in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from inscape.core import InputError, StorageError

Stored = Literal["float32", "bfloat16", "int8"]
KINDS: tuple[str, ...] = get_args(Stored)
SCALE = ".scale"
_MOST = 127

Arrays = dict[str, np.ndarray[Any, Any]]


def check_stored(dtype: str) -> None:
    """InputError for a type that weights are not stored in."""
    if dtype not in KINDS:
        raise InputError(
            f"weights cannot be stored as {dtype!r}", expected=f"one of {', '.join(KINDS)}"
        )


def to_arrays(weights: Mapping[str, Tensor], dtype: str) -> Arrays:
    """The weights as they are stored, with the scales of rows where there are any."""
    found: Arrays = {}
    for key, tensor in weights.items():
        array = tensor.detach().cpu().contiguous().numpy()
        if dtype == "float32" or array.ndim < 2:
            found[key] = array
        elif dtype == "bfloat16":
            found[key] = array.astype(ml_dtypes.bfloat16)
        else:
            scale = np.abs(array).max(axis=-1, keepdims=True).astype(np.float32) / _MOST
            scale = np.maximum(scale, np.finfo(np.float32).tiny)
            found[key] = np.rint(array / scale).astype(np.int8)
            found[key + SCALE] = scale
    return found


def stored_names(shapes: Mapping[str, tuple[int, ...]], dtype: Any) -> tuple[str, ...]:
    """The tensors that a file of weights stored so holds.

    Raises:
        StorageError: weights are not stored in such a type.
    """
    if dtype not in KINDS:
        raise StorageError(
            f"the weights are stored as {str(dtype)[:40]!r}", expected=f"one of {', '.join(KINDS)}"
        )
    rows: Sequence[str] = [key for key, shape in shapes.items() if len(shape) > 1]
    return (*shapes, *(key + SCALE for key in rows if dtype == "int8"))


def to_tensors(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Tensor]:
    """The weights in float32 again."""
    found = {}
    for key, array in arrays.items():
        if not key.endswith(SCALE):
            whole = np.ascontiguousarray(array, np.float32)
            scale = arrays.get(key + SCALE)
            found[key] = torch.from_numpy(whole if scale is None else whole * scale)
    return found
