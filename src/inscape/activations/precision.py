"""The precision of the forward passes that read activations.

1. On a CPU with instructions for bf16 (AVX-512 BF16, AMX), a float32 model is run with a bf16 copy
   of its parameters: activations are stored in bf16 in any case, and the forward pass takes half of
   the time or less. Statistics are summed in float32 and float64.
2. Models of fewer than LARGE parameters are not converted: conversions cost more than they save.
3. On a GPU a model is opened in the precision that it is stored in, and used unchanged.
"""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from inscape.model import Model

LARGE = 1 << 25
_copies: WeakKeyDictionary[Model, Model] = WeakKeyDictionary()


def reading_copy(model: Model) -> Model:
    """`model`, or a bf16 copy of it if that is faster; made once per model.

    The copy shares everything but the parameters with `model`; its hash must not be used.
    """
    if model.dtype != torch.float32 or not _fast(model):
        return model
    if model not in _copies:
        parameters: dict[int, Any] = {
            id(p): nn.Parameter(p.to(torch.bfloat16), requires_grad=False)
            for p in model.module.parameters()
        }
        shared = {id(v): v for k, v in vars(model).items() if k not in ("module", "structure")}
        _copies[model] = copy.deepcopy(model, {**shared, **parameters})
    return _copies[model]


def _fast(model: Model) -> bool:
    cpu: Any = torch.cpu
    able = cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
    large = sum(p.numel() for p in model.module.parameters()) >= LARGE
    return bool(model.device.type == "cpu" and able and large)
