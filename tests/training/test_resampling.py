"""Dead features begin anew: when, where, and what is refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.source import Source, sparse_world
from tests.training.test_train import MLP, RESID

from inscape.core import InputError, Stopped
from inscape.training import TrainConfig, train
from inscape.training.resampling import PUBLISHED, TOPK, due, resample


def config(**changes: Any) -> TrainConfig:
    settings = {"d_dict": 64, "k": 5, "tokens": 60_000, "batch_size": 200, "lr": 3e-3}
    return TrainConfig(**{**settings, **changes})


def test_it_is_due_as_often_as_asked_for_in_the_first_half() -> None:
    for times in (0, 1, 4):
        steps = [step for step in range(1, 301) if due(step, config(resample=times))]
        assert len(steps) == times
        assert all(step <= 150 for step in steps)


@pytest.mark.parametrize("fraction", [PUBLISHED, TOPK])
def test_dead_features_take_directions_that_are_badly_explained(fraction: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (10, 4), "b_enc": (10,), "W_dec": (10, 4)}
    weights, mean, square = (
        {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
        for _ in range(3)
    )
    before = {key: value.clone() for key, value in weights.items()}
    rows, errors = torch.randn((50, 4), generator=generator), torch.zeros(50, 4)
    errors[7] = 3.0  # the only row that is not explained
    dead = torch.tensor([2, 9])
    resample(weights, (mean, square), dead, rows, errors, fraction=fraction, seed=1)
    alive = [f for f in range(10) if f not in (2, 9)]
    wanted = rows[7] / rows[7].norm()
    for feature in (2, 9):
        scale = fraction * float(before["W_enc"][alive].norm(dim=1).mean())
        torch.testing.assert_close(weights["W_enc"][feature], scale * wanted)
        torch.testing.assert_close(weights["W_dec"][feature], wanted)
        assert weights["b_enc"][feature] == 0
        assert not any(moment[key][feature].any() for moment in (mean, square) for key in shapes)
    for key in shapes:
        assert torch.equal(weights[key][alive], before[key][alive])


def test_a_run_has_fewer_dead_features_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    data, ends = sparse_world(), {}
    for times in (0, 3):
        asked = config(resample=times, aux_weight=0.0, d_dict=256, k=2, dead_tokens=2000)
        made = train(Source(data), *RESID, tmp_path / f"plain-{times}", asked, name="it")
        ends[times] = made
    assert not torch.equal(ends[0].W_enc, ends[3].W_enc)
    alive = {
        times: len(torch.unique(d.encode(data[RESID[0]]).indices)) for times, d in ends.items()
    }
    assert alive[3] > alive[0]

    def stop(number: int) -> None:
        if number == 120:  # after the first and the second time
            os.kill(os.getpid(), signal.SIGINT)

    asked = config(resample=3, aux_weight=0.0, d_dict=256, k=2, dead_tokens=2000)
    with pytest.raises(Stopped):
        train(Source(data, stop), *RESID, tmp_path / "stopped", asked, name="it")
    again = train(Source(data), *RESID, tmp_path / "stopped", asked, name="it")
    assert torch.equal(again.W_enc, ends[3].W_enc)
    assert torch.equal(again.W_dec, ends[3].W_dec)


@pytest.mark.parametrize(
    ("variant", "sites", "said"), [("jumprelu", RESID, "'jumprelu'"), ("topk", MLP, "a transcoder")]
)
def test_what_cannot_be_resampled_is_refused(
    variant: str, sites: Any, said: str, tmp_path: Path
) -> None:
    asked = config(resample=1, variant=variant)
    with pytest.raises(InputError, match=f"{said} cannot have its dead features resampled"):
        train(Source(sparse_world()), *sites, tmp_path / "d", asked, name="it")
