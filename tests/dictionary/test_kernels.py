"""Every numba kernel against its plain torch reference."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inscape.dictionary import RaggedCode, kernels
from inscape.dictionary.kernels import AdamStep, CodeGradient, RowBlock, RowTerms


def random_code(seed: int, rows: int, k: int, width: int) -> RaggedCode:
    """A code with distinct features per row, some empty slots, and rows of unequal length."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand((rows, width), generator=generator).argsort(1)[:, :k].contiguous()
    values = torch.randn((rows, k), generator=generator).relu()
    counts = torch.randint(k + 1, (rows,), generator=generator)
    kept = torch.arange(k) < counts[:, None]
    indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return RaggedCode(indptr, torch.where(values > 0, order, 0)[kept], values[kept])


@pytest.mark.parametrize(("width", "k"), [(7, 3), (64, 64), (200, 9), (33, 1)])
def test_select_takes_the_k_largest_positive_entries(width: int, k: int) -> None:
    pre = torch.randn((41, width), generator=torch.Generator().manual_seed(width))
    pre[3] = -1.0  # a row without any positive entry
    indices, values = kernels.select_top(pre, k)
    wanted_indices, wanted_values = kernels.select_top_plain(pre, k)
    assert torch.equal(values, wanted_values)
    kept = values > 0
    assert torch.equal(indices[kept], wanted_indices[kept])
    assert not indices[~kept].any()
    assert not kept[3].any()


def test_select_handles_ties_and_orders_values() -> None:
    pre = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0, 3.0]]).repeat(5, 12)
    indices, values = kernels.select_top(pre, 20)
    assert torch.equal(values, kernels.select_top_plain(pre, 20)[1])
    assert torch.equal(pre.gather(1, indices), values)
    assert all(len(set(row.tolist())) == 20 for row in indices)


def test_select_among_columns() -> None:
    pre = torch.randn((19, 50), generator=torch.Generator().manual_seed(1))
    columns = torch.tensor([3, 8, 11, 40, 49])
    for k in (2, 5, 8):
        indices, values = kernels.select_top(pre, k, columns=columns)
        wanted_indices, wanted_values = kernels.select_top_plain(pre, k, columns=columns)
        assert torch.equal(values, wanted_values)
        assert torch.equal(indices[values > 0], wanted_indices[values > 0])


@pytest.mark.parametrize(("width", "k"), [(7, 3), (64, 64), (409, 256), (300, 9), (33, 1)])
def test_keep_top_leaves_the_k_largest_where_they_are(width: int, k: int) -> None:
    pre = torch.randn((41, width), generator=torch.Generator().manual_seed(width))
    pre[3], pre[4], pre[5, : width // 2] = -1.0, 1.0, 2.0
    kept = kernels.keep_top(pre.clone(), k)
    wanted = kernels.select_top_plain(pre, k)[1]
    found = kept.sort(dim=1, descending=True).values[:, :k]
    assert torch.equal(found, wanted[:, : found.shape[1]])
    assert bool(((kept == 0) | (kept == pre)).all())
    assert int((kept > 0).sum(1).max()) <= k


@pytest.mark.parametrize(("width", "k"), [(8, 3), (64, 40), (1000, 9), (333, 1)])
def test_select_half_is_exact_where_the_candidates_hold_the_largest(width: int, k: int) -> None:
    generator = torch.Generator().manual_seed(width)
    x, weight = (torch.randn((n, 24), generator=generator) for n in (41, width))
    bias = torch.randn(width, generator=generator)
    x[2], bias[0] = 0.0, -1.0
    pre = torch.addmm(bias, x, weight.T)
    pre[2] = bias
    low = pre.bfloat16()
    indices, values = torch.empty((41, k), dtype=torch.int64), torch.empty((41, k))
    kernels.select_half(low, x, weight, bias, 2 * k, indices, values)
    for found in (values, kernels.select_half_plain(low, x, weight, bias, 2 * k, k)[1]):
        torch.testing.assert_close(found, kernels.select_top_plain(pre, k)[1])
    kept = values > 0
    torch.testing.assert_close(pre.gather(1, indices)[kept], values[kept])
    assert not indices[~kept].any()
    for row, active in zip(indices, kept, strict=True):
        assert len(set(row[active].tolist())) == int(active.sum())


def test_reconstruct_is_a_decode_and_the_gradient_of_its_error() -> None:
    code = random_code(2, 30, 6, 90)
    generator = torch.Generator().manual_seed(3)
    weight, bias = torch.randn((90, 21), generator=generator), torch.randn(21, generator=generator)
    target = torch.randn((30, 21), generator=generator)
    error, dots = kernels.reconstruct(code, weight, bias, target)
    torch.testing.assert_close(error, target - kernels.decode_plain(code, weight, bias))
    wanted = kernels.value_gradients_plain(code, weight, error)
    torch.testing.assert_close(dots, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bound", ["one", "each"])
def test_select_above_takes_what_is_strictly_above(bound: str) -> None:
    pre = torch.randn((19, 50), generator=torch.Generator().manual_seed(1))
    pre[4] = -9.0
    edge = torch.tensor([0.3]) if bound == "one" else torch.linspace(-0.5, 0.9, 50)
    edge[0] = pre[2, 0]  # equal is not above
    found = kernels.select_above(pre, edge)
    for ours, wanted in zip(found, kernels.select_above_plain(pre, edge), strict=True):
        assert torch.equal(ours, wanted)
    assert found[0][4] == 0
    assert int(found[0].sum()) == len(found[1]) == int((pre > edge).sum())


@pytest.mark.parametrize("bound", [0.0, 0.3, 1.01, -0.5])
def test_select_above_of_bf16(bound: float) -> None:
    pre = torch.randn((19, 150), generator=torch.Generator().manual_seed(1)).bfloat16()
    found = kernels.select_above(pre, torch.tensor([bound]))
    for ours, wanted in zip(
        found, kernels.select_above_plain(pre, torch.tensor([bound])), strict=True
    ):
        assert torch.equal(ours, wanted)
    assert found[2].dtype == torch.float32
    if bound >= 0:
        low = torch.tensor(bound).bfloat16().float() * (1 - 2**-7)
        assert int(found[0].sum()) >= int((pre.float() > bound).sum())
        assert bool((found[2] > low).all())


@pytest.mark.parametrize("bias", [True, False])
def test_decode_and_value_gradients(bias: bool) -> None:
    code = random_code(2, 30, 6, 90)
    weight = torch.randn((90, 21), generator=torch.Generator().manual_seed(3))
    offset = torch.randn(21, generator=torch.Generator().manual_seed(4)) if bias else None
    found = kernels.decode(code, weight, offset)
    torch.testing.assert_close(found, kernels.decode_plain(code, weight, offset))
    groups = torch.arange(90) % 3
    for number, given in ((1, None), (3, groups)):
        grad = torch.randn((30 * number, 21), generator=torch.Generator().manual_seed(5))
        for everywhere in (False, True):
            torch.testing.assert_close(
                kernels.value_gradients(code, weight, grad, groups=given, everywhere=everywhere),
                kernels.value_gradients_plain(
                    code, weight, grad, groups=given, everywhere=everywhere
                ),
                atol=1e-5,
                rtol=1e-5,
            )


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("num_codes", [1, 2])
@pytest.mark.parametrize("terms", ["none", "decoder", "parts", "both"])
@pytest.mark.parametrize(("grouped", "given"), [(True, False), (False, True)])
def test_weight_gradients(
    project: bool, num_codes: int, terms: str, grouped: bool, given: bool
) -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn((30, 13), generator=generator)
    weight = torch.randn((90, 21), generator=generator)
    weight /= weight.norm(dim=1, keepdim=True)
    groups = torch.arange(90) % 2 if grouped else None
    codes = []
    for number in range(num_codes):
        code = random_code(7 + number, 30, 6 + number, 90)
        own = groups if number == 0 else None
        grad = torch.randn((30 * (1 if own is None else 2), 21), generator=generator)
        d_pre = kernels.value_gradients_plain(code, weight, grad, groups=own)
        codes.append(CodeGradient(code, d_pre, grad, own))
    added = None
    if terms != "none":
        both = (torch.randn(90, generator=generator), x.sum(0), 30) if terms == "both" else ()
        added = RowTerms(torch.randn(90, generator=generator), *both)
    if terms == "parts":
        added = RowTerms(torch.randn((90, 3), generator=generator), widths=(9, 5, 7))
    block = None
    if given:
        rows = (torch.randn((2, n), generator=generator) for n in (13, 1, 21))
        W_enc, b_enc, W_dec = rows
        block = RowBlock(torch.tensor([4, 88]), W_enc, b_enc.flatten(), W_dec)
    settings = {"project": project, "terms": added, "block": block}
    found = kernels.weight_gradients(codes, x, weight, **settings)
    wanted = kernels.weight_gradients_plain(codes, x, weight, **settings)
    for name in ("W_enc", "b_enc", "W_dec", "squared_norm"):
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), atol=1e-4, rtol=1e-4
        )
    if project:
        assert (found.W_dec * weight).sum(1).abs().max() < 1e-4


def test_adam_equals_torch() -> None:
    generator = torch.Generator().manual_seed(8)
    start = torch.randn((40, 17), generator=generator)
    theirs = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([theirs], lr=3e-3)
    ours, mean, square = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, 30):
        grad = torch.randn((40, 17), generator=generator)
        grad[step % 40] = 0.0
        if step > 10:
            grad[5] = 0.0  # a feature that stops firing still moves by its momentum
        theirs.grad = grad.clone()
        optimiser.step()
        kernels.adam(ours, grad, mean, square, AdamStep(step=step, lr=3e-3))
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-6)


def test_adam_clips_and_normalises() -> None:
    generator = torch.Generator().manual_seed(9)
    start = torch.randn((12, 5), generator=generator)
    grad = torch.randn((12, 5), generator=generator)
    results = []
    for update in (kernels.adam, kernels.adam_plain):
        state = [start.clone(), torch.zeros_like(start), torch.zeros_like(start)]
        for step in (1, 2, 3):
            update(state[0], grad, *state[1:], AdamStep(step, 1e-2, scale=0.3), unit_rows=True)
        torch.testing.assert_close(state[0].norm(dim=1), torch.ones(12))
        results.append(state)
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)


def test_threads_follow_torch() -> None:
    import numba

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        kernels.select_top(torch.randn(4, 40), 2)
        assert numba.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_kernels_are_cached_on_disk(tmp_path: Path, repository: Path) -> None:
    """A second process loads what the first one compiled (here: the first kernel only)."""
    code = (
        "import torch; from inscape.dictionary.kernels import select, select_top;"
        "select_top(torch.ones(2, 40), 2)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = str(repository / "src")
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    written = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nbc")}
    assert any("_select" in file.name for file in written)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nbc")} == written
