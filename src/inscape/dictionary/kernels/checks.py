"""Each Triton kernel compared with its plain reference on a small problem, before first use."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from inscape.dictionary.code import RaggedCode
from inscape.dictionary.kernels import gpu
from inscape.dictionary.kernels.adam import adam_plain
from inscape.dictionary.kernels.decode import decode_plain, value_gradients_plain
from inscape.dictionary.kernels.gradients import weight_gradients_plain
from inscape.dictionary.kernels.select import select_above_plain, select_top_plain
from inscape.dictionary.kernels.terms import AdamStep, CodeGradient, RowBlock, RowTerms

TOLERANCE = 1e-4
_ROWS, _WIDTH, _FEATURES, _K = 6, 20, 70, 5


def differences(device: str) -> list[str]:
    """The kernels that differ from their references by more than `TOLERANCE` of the reference's
    largest entry, and by how much."""
    wrong = []
    for name, found, wanted in _pairs(device):
        if found.shape != wanted.shape:
            wrong.append(f"{name}: shape {tuple(found.shape)}, not {tuple(wanted.shape)}")
            continue
        error = float((found.double() - wanted.double()).abs().max())
        if not error <= TOLERANCE * max(float(wanted.abs().max()), 1.0):
            wrong.append(f"{name}: off by {error:.1g}")
    return wrong


def _pairs(device: str) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(what, by the kernel, by the reference)."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    pre = draw(_ROWS, _FEATURES)
    pre[1] = -1.0
    columns = torch.arange(5, _FEATURES, 3, device=device)
    for name, given in (("top", None), ("top of some", columns)):
        found, wanted = gpu.select_top(pre, _K, given), select_top_plain(pre, _K, columns=given)
        yield f"{name}, values", found[1], wanted[1]
        yield f"{name}, indices", found[0], wanted[0]
    bound = draw(_FEATURES)
    for part, a, b in zip(
        ("counts", "indices", "values"),
        gpu.select_above(pre, bound),
        select_above_plain(pre, bound),
        strict=True,
    ):
        yield f"above, {part}", a, b
    code = RaggedCode(
        torch.arange(_ROWS + 1, device=device) * _K, _features(pre), draw(_ROWS * _K).relu()
    )
    x, weight, bias = draw(_ROWS, 24), draw(_FEATURES, _WIDTH), draw(_WIDTH)
    weight /= weight.norm(dim=1, keepdim=True)
    groups = torch.arange(_FEATURES, device=device) % 2
    d_out = draw(2 * _ROWS, _WIDTH)
    yield "decode", gpu.decode(code, weight, bias), decode_plain(code, weight, bias)
    d_pre = value_gradients_plain(code, weight, d_out, groups=groups)
    yield "value gradients", gpu.value_gradients(code, weight, d_out, groups, False), d_pre
    codes = [
        CodeGradient(code, d_pre, d_out, groups),
        CodeGradient(code, draw(_ROWS * _K), draw(_ROWS, _WIDTH)),
    ]
    terms = RowTerms(draw(_FEATURES), draw(_FEATURES), x.sum(0), _ROWS)
    some = torch.tensor([3, 17, 69], device=device)
    block = RowBlock(some, draw(3, 24), draw(3), draw(3, _WIDTH))
    for project in (True, False):
        added, rows = (None, block) if project else (terms, None)
        ours = gpu.weight_gradients(codes, x, weight, project, added, rows, None)
        plain = weight_gradients_plain(codes, x, weight, project=project, terms=added, block=rows)
        for key in ("W_enc", "b_enc", "W_dec", "squared_norm"):
            yield f"weight gradients, {key}", getattr(ours, key), getattr(plain, key)
    step = AdamStep(step=3, lr=0.01, scale=0.5)
    for unit in (True, False):
        state = [
            weight,
            d_out.repeat(_FEATURES // len(d_out) + 1, 1)[:_FEATURES].contiguous(),
            0.1 * draw(_FEATURES, _WIDTH),
            draw(_FEATURES, _WIDTH).square(),
        ]
        mine, theirs = ([t.clone() for t in state] for _ in range(2))
        gpu.adam(mine[0], mine[1], mine[2], mine[3], step, unit)
        adam_plain(theirs[0], theirs[1], theirs[2], theirs[3], step, unit_rows=unit)
        for key, a, b in zip(
            ("parameter", "gradient", "mean", "square"), mine, theirs, strict=True
        ):
            yield f"adam, {key}", a, b


def _features(pre: Tensor) -> Tensor:
    """Distinct features for each row."""
    return pre.argsort(1)[:, :_K].reshape(-1).contiguous()


gpu.CHECKS.append(differences)
