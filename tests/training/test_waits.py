"""On a GPU the host waits for a training step as rarely as can be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fake_device import FAKE, waits

from inscape.activations import TensorActivations
from inscape.dictionary import DictionaryConfig
from inscape.training import Ranks, TrainConfig, Trainer, dictionary_shape, initial_weights
from inscape.training.view import View

SELECTED = "nonzero"  # how many entries are above a bound, or are kept
NUMBERS = "tolist"  # the step's figures, all in one transfer
DEAD = "nonzero"  # which features are dead
BORDER = "_local_scalar_dense"  # of a batch: whether the floor was low enough


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("topk", [DEAD, NUMBERS]),
        ("relu", [SELECTED, NUMBERS]),
        ("gated", [SELECTED, NUMBERS]),
        ("jumprelu", [DEAD, SELECTED, NUMBERS]),
        ("batch_topk", [DEAD, SELECTED, BORDER, SELECTED, NUMBERS]),
        ("matryoshka", [DEAD, SELECTED, BORDER, SELECTED, NUMBERS]),
    ],
)
@pytest.mark.parametrize("some_dead", [False, True])
def test_a_step_waits_for_its_figures_once(
    variant: str, expected: list[str], some_dead: bool
) -> None:
    found, steps = {}, 3
    for device in ("cpu", FAKE):
        trainer, x = _trainer(variant, str(device))
        for _ in range(steps):
            if some_dead:
                trainer.silent_tokens[::7] = 10**6
            with waits() as waited:
                metrics = trainer.step(x, x)
        found[str(device)] = metrics
    assert waited == expected
    assert found["cpu"].loss == pytest.approx(found[str(FAKE)].loss, rel=1e-4)
    assert (metrics.aux_loss > 0) == (some_dead and variant not in ("relu", "gated"))


@pytest.mark.parametrize("what", ["whiten", "crosscoder", "transcoder"])
def test_batches_are_normalised_without_waiting(what: str) -> None:
    several = what == "crosscoder"
    sites = ["resid_post.0", "resid_post.1"]
    generator = torch.Generator().manual_seed(0)
    source = TensorActivations({site: torch.randn((80, 6), generator=generator) for site in sites})
    config = TrainConfig(d_dict=40, k=4, tokens=640, batch_size=64, whiten=what == "whiten")
    site_out = {"whiten": sites[0], "crosscoder": "+".join(sites), "transcoder": sites[1]}[what]
    site_in = site_out if several else sites[0]
    shape = dictionary_shape(source, site_in, site_out, config)
    view = View(source, shape, config)
    batch = next(source.batches(view.sites, 64, seed=0))
    there = {site: x.to(FAKE) for site, x in batch.items()}
    view.pair(there)  # moves the factors
    with waits() as waited:
        found = view.pair(there)
    assert not waited
    for ours, wanted in zip(found, view.pair(batch), strict=True):
        torch.testing.assert_close(ours.to("cpu"), wanted)


def _trainer(variant: str, device: str) -> tuple[Trainer, Any]:
    x = torch.randn((64, 12), generator=torch.Generator().manual_seed(0))
    shape = DictionaryConfig(
        site_in="embed", site_out="embed", d_in=12, d_out=12, d_dict=40, k=4, subtract_b_dec=True
    )
    config = TrainConfig(d_dict=40, k=4, tokens=64 * 50, batch_size=64, variant=variant)
    weights = initial_weights(shape, sample=x, target_mean=x.mean(0), seed=0)
    moved = {key: value.to(device) for key, value in weights.items()}
    return Trainer(shape, config, moved, Ranks(device)), x.to(device)
