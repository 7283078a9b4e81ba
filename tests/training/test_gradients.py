"""The training step against autograd, and what the auxiliary loss must and must not do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from inscape.core import DataError
from inscape.dictionary import DictionaryConfig
from inscape.dictionary.kernels import CodeGradient, RowBlock
from inscape.training import TrainConfig, Trainer
from inscape.training.variants import base
from inscape_microworld.benchmark.gradients import check_gradients


@pytest.mark.parametrize("dense", [0, 8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_are_those_of_autograd(
    seed: int, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the dead features' code is a dense matrix or a list of entries."""
    monkeypatch.setattr(base, "DENSE", dense)
    assert check_gradients(seed) <= 1e-4


@pytest.mark.parametrize("dense", [0, 8])
def test_the_check_notices_a_wrong_gradient(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "DENSE", dense)
    plain = Trainer._auxiliary

    def without(self: Trainer, *args: Any) -> tuple[float, CodeGradient | RowBlock]:
        loss, given = plain(self, *args)
        assert dense or not isinstance(given, RowBlock)
        if isinstance(given, RowBlock):
            return loss, replace(given, W_enc=given.W_enc * 0)
        return loss, replace(given, d_pre=given.d_pre * 0, d_out=given.d_out * 0)

    monkeypatch.setattr(Trainer, "_auxiliary", without)
    assert check_gradients(0) > 1e-2


def make(**changes: float) -> Trainer:
    config = TrainConfig(d_dict=20, k=3, tokens=1000, batch_size=50, lr=1e-2, **changes)
    shape = DictionaryConfig(
        site_in="embed", site_out="embed", d_in=8, d_out=8, d_dict=20, k=3, subtract_b_dec=True
    )
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn((20, 8), generator=generator)
    encoder /= encoder.norm(dim=1, keepdim=True)
    weights = {"W_enc": encoder, "W_dec": encoder.clone(), "b_dec": torch.zeros(8)}
    return Trainer(shape, config, {**weights, "b_enc": torch.zeros(20)})


def test_constant_batches_give_finite_figures() -> None:
    trainer = make()
    metrics = trainer.step(torch.ones(50, 8), torch.ones(50, 8))
    assert all(torch.isfinite(value).all() for value in trainer.weights.values())
    assert metrics.l0 <= 3


def test_a_poisoned_batch_changes_nothing() -> None:
    trainer = make()
    before = {key: value.clone() for key, value in trainer.weights.items()}
    x = torch.randn(50, 8)
    x[3, 2] = torch.nan
    with pytest.raises(DataError, match="step 0"):
        trainer.step(x, x)
    assert all(torch.equal(value, trainer.weights[key]) for key, value in before.items())


def test_dead_features_come_back() -> None:
    """A feature that never fires is revived by the auxiliary loss, and stays dead without it."""
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn((50, 8), generator=generator) for _ in range(60)]
    fired = {}
    for weight in (1 / 32, 0.0):
        trainer = make(aux_weight=weight, dead_tokens=100, decay=0.0)
        trainer.weights["W_enc"][12:] *= 0.05  # too weak to be among the three largest
        for x in batches:
            trainer.step(x, x)
        fired[weight] = 20 - len(trainer.dead)
    assert fired[1 / 32] == 20
    assert fired[0.0] < 18


def test_decoder_rows_stay_unit_for_autoencoders() -> None:
    trainer = make()
    for _ in range(5):
        x = torch.randn(50, 8)
        trainer.step(x, x)
    torch.testing.assert_close(trainer.weights["W_dec"].norm(dim=1), torch.ones(20))
