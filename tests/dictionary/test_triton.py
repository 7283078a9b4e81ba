"""The Triton kernels through Triton's interpreter (set in conftest), beside the plain references.

Triton is a test requirement: where it is missing these tests fail, they do not skip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import triton

from inscape.core import InputError
from inscape.dictionary import DictionaryConfig, RaggedCode, kernels
from inscape.dictionary.kernels import _jit, checks, gpu
from inscape.dictionary.kernels.adam import AdamStep
from inscape.training import TrainConfig, Trainer, initial_weights


def test_the_interpreter_runs_them() -> None:
    assert triton.knobs.runtime.interpret


def test_every_kernel_gives_what_its_reference_gives() -> None:
    assert checks.differences("cpu") == []


@pytest.mark.parametrize("name", ["decode", "value_gradients", "select_top", "select_above"])
def test_a_wrong_kernel_is_found_and_plain_torch_used(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(gpu, name)

    def wrong(*given: Any) -> Any:
        found = right(*given)
        return found + 0.1 if isinstance(found, torch.Tensor) else (*found[:-1], found[-1] + 0.1)

    monkeypatch.setattr(gpu, name, wrong)
    gpu.works.cache_clear()
    with pytest.warns(UserWarning, match="off by .* plain torch is"):
        assert not gpu.works("cpu")
    gpu.works.cache_clear()


def test_a_kernel_that_does_not_compile_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> Any:
        raise RuntimeError("no such instruction\nand more")

    monkeypatch.setattr(gpu, "adam", fails)
    gpu.works.cache_clear()
    with pytest.warns(UserWarning, match="RuntimeError: no such instruction[)]"):
        assert not gpu.works("cpu")
    gpu.works.cache_clear()


def test_they_serve_fp32_on_one_card_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gpu.serves(torch.ones(2))
    monkeypatch.setattr(gpu, "works", lambda device: True)
    card, other = torch.empty(2, device="meta"), torch.empty(2, dtype=torch.bfloat16, device="meta")
    monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda", 0), raising=False)
    assert gpu.serves(card)
    assert not gpu.serves(card, other)
    with kernels.use_kernels("plain"):
        assert not gpu.serves(card)


def test_equal_entries_and_rows_without_any() -> None:
    pre = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0, 3.0]]).repeat(4, 12)
    pre[1] = -pre[1] - 1.0
    pre[2] = 0.5
    indices, values = gpu.select_top(pre, 20, None)
    assert torch.equal(values, kernels.select_top_plain(pre, 20)[1])
    assert torch.equal(pre.gather(1, indices)[values > 0], values[values > 0])
    assert not indices[1].any()
    assert all(len(set(row.tolist())) == 20 for row in indices[[0, 2, 3]])


@pytest.mark.parametrize(("width", "k"), [(7, 9), (64, 64), (200, 9), (1030, 1)])
def test_select_at_odd_sizes(width: int, k: int) -> None:
    pre = torch.randn((5, width), generator=torch.Generator().manual_seed(width))
    indices, values = gpu.select_top(pre, k, None)
    wanted = kernels.select_top_plain(pre, k)
    assert torch.equal(values, wanted[1])
    assert torch.equal(indices, wanted[0])


def test_an_empty_batch() -> None:
    code = RaggedCode(torch.zeros(1, dtype=torch.int64), torch.zeros(0).long(), torch.zeros(0))
    weight = torch.ones(3, 4)
    assert gpu.decode(code, weight, None).shape == (0, 4)
    assert gpu.value_gradients(code, weight, torch.ones(0, 4), None, False).shape == (0,)
    assert gpu.select_top(torch.ones(0, 3), 2, None)[0].shape == (0, 2)
    assert [len(part) for part in gpu.select_above(torch.ones(0, 3), torch.ones(3))] == [0, 0, 0]


def test_adam_of_a_bias() -> None:
    found, wanted = ([torch.linspace(-1, 1, 1500)[None].clone() for _ in range(2)] for _ in "ab")
    found += [torch.zeros(1, 1500) for _ in range(2)]
    wanted += [torch.zeros(1, 1500) for _ in range(2)]
    step = AdamStep(step=1, lr=0.1)
    gpu.adam(*found, step, False)
    kernels.adam_plain(*wanted, step)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("variant", "encoder"),
    [
        ("topk", "fp32"),
        ("topk", "bf16"),
        ("batch_topk", "fp32"),
        ("batch_topk", "bf16"),
        ("matryoshka", "fp32"),
        ("jumprelu", "fp32"),
        ("gated", "fp32"),
    ],
)
def test_a_training_step_by_them(
    variant: str, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole steps, auxiliary loss included: by the Triton kernels, and by plain torch."""
    config = TrainConfig(
        d_dict=20, k=3, tokens=24 * 20, batch_size=24, variant=variant, encoder=encoder
    )
    shape = DictionaryConfig(
        site_in="final", site_out="final", d_in=12, d_out=12, d_dict=20, k=3, subtract_b_dec=True
    )
    x = torch.randn((24, 12), generator=torch.Generator().manual_seed(5))
    ends = []
    for served in (True, False):
        with monkeypatch.context() as patch, kernels.use_kernels("plain"):
            patch.setattr(gpu, "serves", lambda *given, served=served: served)
            weights = initial_weights(shape, sample=x, target_mean=x.mean(0), seed=0)
            trainer = Trainer(shape, config, weights)
            trainer.silent_tokens[:5] = 10**9
            for _ in range(2):
                trainer.step(x, x)
            ends.append(trainer.weights)
    for key in ends[0]:
        torch.testing.assert_close(ends[0][key], ends[1][key], atol=1e-4, rtol=1e-4)


def test_plain_kernels_where_asked_for() -> None:
    x = torch.ones(2)
    assert _jit.runs_here(x)
    with kernels.use_kernels("plain"):
        assert not _jit.runs_here(x)
    assert _jit.runs_here(x)
    with pytest.raises(InputError, match="'fast'"), kernels.use_kernels("fast"):
        pass


def test_no_kernel_is_missing_from_the_check() -> None:
    source = Path(checks.__file__).read_text()
    for name in (
        "decode",
        "value_gradients",
        "weight_gradients",
        "select_top",
        "select_above",
        "adam",
    ):
        assert f"gpu.{name}(" in source
