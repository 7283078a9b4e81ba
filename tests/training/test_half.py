"""The encoder whose product is made in bf16: what it chooses, what it leads to, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.source import Source, sparse_world
from tests.training.test_train import RESID, fvu

from inscape.core import InputError
from inscape.dictionary import Above, DictionaryConfig, Encoder, half_is_faster
from inscape.dictionary.encoder import encode_top
from inscape.training import TrainConfig, Trainer, initial_weights, train


def test_it_chooses_what_fp32_chooses() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn((n, 96), generator=generator) for n in (200, 700))
    bias = 0.1 * torch.randn(700, generator=generator)
    wanted = encode_top(x, weight, bias, 16)
    found = Encoder(half=True).top_half(x, weight, bias, 16)
    alike = (found.indices[:, :, None] == wanted.indices[:, None, :]).any(1)
    assert float(alike.float().mean()) > 0.99
    torch.testing.assert_close(found.values, wanted.values, rtol=1e-2, atol=0)
    exact = torch.addmm(bias, x, weight.T).gather(1, found.indices)
    torch.testing.assert_close(found.values, exact)


@pytest.mark.parametrize("num_dead", [6, 40])
def test_gradients_are_those_of_fp32_to_the_precision_of_the_dead_features_products(
    num_dead: int,
) -> None:
    x = sparse_world(rows=300)["resid_post.1"]
    x = (x - x.mean(0)) / x.std()
    shape = DictionaryConfig(
        site_in="embed", site_out="embed", d_in=16, d_out=16, d_dict=90, k=4, subtract_b_dec=True
    )
    found = []
    for encoder in ("fp32", "bf16"):
        config = TrainConfig(
            d_dict=90,
            k=4,
            tokens=9000,
            batch_size=300,
            encoder=encoder,
            aux_k=4 if num_dead > 32 else 5,
            aux_weight=1.0,
        )
        trainer = Trainer(
            shape, config, initial_weights(shape, sample=x, target_mean=x.mean(0), seed=0)
        )
        found.append(trainer.loss_and_gradients(x, x, dead=torch.arange(num_dead)))
    (exact, wanted), (low, grads) = found
    assert low.loss == pytest.approx(exact.loss, rel=1e-2)
    assert low.aux_loss > 0
    for key, gradient in wanted.of.items():
        assert float((grads.of[key] - gradient).norm() / gradient.norm()) < 0.03


@pytest.mark.parametrize("variant", ["topk", "batch_topk", "matryoshka", "jumprelu"])
def test_a_dictionary_trained_so_is_as_good(variant: str, tmp_path: Path) -> None:
    data = sparse_world(rows=5000)
    seen = Source({site: x[:4000] for site, x in data.items()})
    fresh = data["resid_post.1"][4000:]
    left = {}
    for encoder in ("fp32", "bf16"):
        config = TrainConfig(
            d_dict=64,
            k=5,
            tokens=150_000,
            batch_size=200,
            lr=3e-3,
            encoder=encoder,
            variant=variant,
        )
        made = train(seen, *RESID, tmp_path / encoder, config, name="it")
        left[encoder] = fvu(made, fresh, fresh)
        assert made.made_from["training"]["encoder"] == encoder
    assert left["bf16"] == pytest.approx(left["fp32"], rel=0.1)


def test_what_lies_above_a_floor_is_computed_in_fp32() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn((n, 96), generator=generator) for n in (50, 700))
    bias = 0.1 * torch.randn(700, generator=generator)
    pre = torch.addmm(bias, x, weight.T)
    above = Above(torch.tensor([12.0]), (x, weight, bias))
    for _, part in Encoder(half=True).halves(x, weight, bias):
        above.add(part)
    code = above.code()
    torch.testing.assert_close(code.values, pre[code.rows, code.indices])
    assert 0 < len(code.values) < 0.2 * pre.numel()
    assert bool((code.values > 12.0).all())
    assert len(code.values) == int((pre > 12.0).sum())


def test_only_large_dictionaries_take_it_by_themselves() -> None:
    assert not half_is_faster(2048 * 128, torch.device("cpu"))
    cpu = torch.cpu
    able = cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
    assert half_is_faster(8192 * 512, torch.device("cpu")) == able


def test_other_variants_refuse_it() -> None:
    with pytest.raises(InputError, match="'gated' knows no encoder in bf16"):
        TrainConfig(d_dict=8, k=2, tokens=2000, variant="gated", encoder="bf16")
