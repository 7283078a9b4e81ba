"""The Triton kernels: when they are used, and how they are launched.

1. They are used for fp32 weights on one CUDA device, if Triton is installed.
2. Before the first call on a device each kernel is compared with its plain reference (`checks`). If
   one differs or does not compile, a warning says so, and the references are used there.
3. The encoder's matmul is cuBLAS's, in chunks of rows. A selection reads a row of the chunk once to
   bound its k largest entries, and writes only entries that reach the bound.

Each function does what the function of the same name in this package does; see there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from inscape.dictionary.code import RaggedCode, occurrences, row_starts
from inscape.dictionary.kernels._jit import fast
from inscape.dictionary.kernels.terms import (
    AdamStep,
    CodeGradient,
    RowBlock,
    RowTerms,
    WeightGradients,
    joined,
    storage,
)

_GROUP = 16
_FLAT = 1024

CHECKS: list[Callable[[str], list[str]]] = []
"""Comparisons of the kernels with their references on a device (see `checks`)."""


def serves(*tensors: Tensor) -> bool:
    """Whether the Triton kernels can be used for these tensors."""
    devices = {t.device for t in tensors}
    return (
        fast()
        and len(devices) == 1
        and next(iter(devices)).type == "cuda"
        and all(not t.is_floating_point() or t.dtype == torch.float32 for t in tensors)
        and works(str(next(iter(devices))))
    )


@cache
def works(device: str) -> bool:
    """Whether every kernel agrees with its reference on this device; warns once if not."""
    if find_spec("triton") is None:
        return False
    try:
        wrong = [line for check in CHECKS for line in check(device)]
    except Exception as error:  # a compiler has many ways to fail, and none may end a training
        wrong = [f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"]
    if wrong:
        warnings.warn(
            f"Triton's kernels are not used on {device} ({'; '.join(wrong)}); plain torch is",
            stacklevel=2,
        )
    return not wrong


def _kernels() -> ModuleType:
    from inscape.dictionary.kernels import _triton

    return _triton


def _block(width: int) -> int:
    """The smallest power of two that holds a row."""
    return int(1 << max(4, (width - 1).bit_length()))


def _warps(block: int) -> int:
    return min(16, max(1, block // 256))


def decode(code: RaggedCode, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See `decode`."""
    width = weight.shape[1]
    out = weight.new_empty((len(code), width))
    if len(code):
        block = min(_block(width), 1024)
        _kernels().decode[(len(code), -(-width // block))](
            code.indptr,
            code.indices,
            code.values,
            weight.contiguous(),
            weight if bias is None else bias.contiguous(),
            out,
            width,
            BIAS=bias is not None,
            BLOCK=block,
            num_warps=_warps(block),
        )
    return out


def value_gradients(
    code: RaggedCode, weight: Tensor, grad: Tensor, groups: Tensor | None, everywhere: bool
) -> Tensor:
    """See `value_gradients`."""
    out = torch.empty_like(code.values)
    if len(code):
        block = _block(weight.shape[1])
        _kernels().value_gradients[(len(code),)](
            code.indptr,
            code.indices,
            code.values,
            weight.contiguous(),
            grad.contiguous(),
            code.indices if groups is None else groups.contiguous(),
            out,
            len(code),
            weight.shape[1],
            GROUPS=groups is not None,
            EVERYWHERE=everywhere,
            BLOCK=block,
            num_warps=_warps(block),
        )
    return out


def weight_gradients(
    codes: Sequence[CodeGradient],
    x: Tensor,
    W_dec: Tensor,
    project: bool,
    terms: RowTerms | None,
    block: RowBlock | None,
    out: WeightGradients | None,
) -> WeightGradients:
    """See `weight_gradients`; entries are put in the order of their features by a stable sort."""
    out = storage(x, W_dec) if out is None else out
    features, rows, d_out_rows, values, d_pre = joined(codes)
    order = features.argsort(stable=True)
    pointer = row_starts(occurrences(features, len(W_dec)))
    d_out = codes[0].d_out if len(codes) == 1 else torch.cat([c.d_out for c in codes])
    own = shift = along = None
    if terms is not None:
        own, shift, along = terms.decoder.contiguous(), terms.encoder, terms.along
    shifted = shift is not None and along is not None
    terms_used = (own, True), (shift, shifted), (along, shifted)
    places = features.new_full((len(W_dec) if block is not None else 0,), -1)
    added: tuple[Tensor, ...] = (x, x, x)
    if block is not None:
        places[block.features] = torch.arange(len(block.features), device=x.device)
        added = tuple(t.contiguous() for t in (block.W_enc, block.b_enc, block.W_dec))
    widths = x.shape[1], W_dec.shape[1]
    blocks = tuple(map(_block, widths))
    _kernels().weight_gradients[(len(W_dec),)](
        pointer,
        *(t[order] for t in (rows, d_out_rows, values, d_pre)),
        x.contiguous(),
        d_out.contiguous(),
        W_dec.contiguous(),
        *(x if t is None or not used else t.contiguous() for t, used in terms_used),
        float(terms.rows) if terms is not None else 0.0,
        places,
        *added,
        out.W_enc,
        out.b_enc,
        out.W_dec,
        out.squared_norm,
        *widths,
        OWN=own is not None,
        SHIFT=shifted,
        GIVEN=block is not None,
        PROJECT=project,
        IN=blocks[0],
        OUT=blocks[1],
        num_warps=_warps(sum(blocks)),
    )
    return out


def select_top(pre: Tensor, k: int, columns: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `select_top`: what reaches each row's floor is collected, and its k largest are taken."""
    scores = pre.contiguous() if columns is None else pre[:, columns]
    rows, width = scores.shape
    indices = torch.zeros((rows, k), dtype=torch.int64, device=pre.device)
    values = torch.zeros((rows, k), device=pre.device)
    if not rows or not width:
        return indices, values
    floors = values.new_empty(rows)
    groups = _block(-(-width // _GROUP))
    _kernels().floors[(rows,)](
        scores, floors, width, min(k, groups), GROUPS=groups, GROUP=_GROUP, num_warps=_warps(groups)
    )
    counts, found, candidates, most = _above(scores, floors, by_row=True)
    code = RaggedCode(row_starts(counts), found, candidates).padded(most)  # in decreasing order
    num = min(k, code.values.shape[1])
    values[:, :num] = code.values[:, :num]
    chosen = code.indices[:, :num] if columns is None else columns[code.indices[:, :num]]
    indices[:, :num] = torch.where(values[:, :num] > 0, chosen, 0)
    return indices, values


def select_above(pre: Tensor, bound: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `select_above`."""
    return _above(pre.contiguous(), bound, by_row=False)[:3]


def _above(pre: Tensor, bound: Tensor, *, by_row: bool) -> tuple[Tensor, Tensor, Tensor, int]:
    """As `select_above`, and how many the fullest row has."""
    rows, width = pre.shape
    counts = torch.zeros(rows, dtype=torch.int64, device=pre.device)
    if not rows:
        return counts, counts.new_empty(0), pre.new_empty(0), 0
    settings: dict[str, Any] = {"BY_ROW": by_row, "BLOCK": min(_block(width), _FLAT)}
    _kernels().count_above[(rows,)](pre, bound, counts, width, **settings)
    ends = counts.cumsum(0)
    total, most = torch.stack([ends[-1], counts.max()]).tolist()  # the host waits here alone
    indices = torch.empty(total, dtype=torch.int64, device=pre.device)
    values = torch.empty(total, device=pre.device)
    _kernels().fill_above[(rows,)](pre, bound, ends - counts, indices, values, width, **settings)
    return counts, indices, values, most


def adam(
    parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, step: AdamStep, unit: bool
) -> None:
    """See `adam`; without unit rows a parameter is one long row."""
    rows, width = parameter.shape if unit else (1, parameter.numel())
    block = _block(width) if unit else _FLAT
    _kernels().adam[(rows, -(-width // block))](
        parameter,
        gradient.contiguous(),
        mean,
        square,
        width,
        step.scale,
        step.lr / (1.0 - step.beta1**step.step),
        1.0 / (1.0 - step.beta2**step.step) ** 0.5,
        step.beta1,
        step.beta2,
        step.eps,
        UNIT=unit,
        BLOCK=block,
        num_warps=_warps(block),
    )
