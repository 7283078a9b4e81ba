"""What a training begins with: directions near tokens, and thresholds that follow from them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.training.source import Source, sparse_world
from tests.training.test_train import MLP, RESID, config

from inscape.dictionary import DictionaryConfig
from inscape.training import TrainConfig
from inscape.training.variants.jumprelu import FIRST_L0
from inscape.training.view import View

WIDTH, FEATURES = 16, 6000
SOURCE = Source(sparse_world())


def view(sites: tuple[str, str], settings: TrainConfig) -> View:
    shape = DictionaryConfig(
        site_in=sites[0],
        site_out=sites[1],
        d_in=WIDTH,
        d_out=WIDTH,
        d_dict=settings.d_dict,
        k=settings.k,
        subtract_b_dec=sites[0] == sites[1],
    )
    return View(SOURCE, shape, settings)


def nearness(sites: tuple[str, str], **changes: Any) -> float:
    """The mean cosine of a feature's direction and the token that is nearest to it."""
    found = view(sites, config(**{"d_dict": 500, "variant": "batch_topk", **changes}))
    weights = found.initial()
    x = found.pair(next(SOURCE.batches([*sites], 2000, seed=1)))[0]
    inner = x - weights["b_dec"] if sites[0] == sites[1] else x - x.mean(0)
    cosines = (
        torch.nn.functional.normalize(weights["W_enc"]) @ torch.nn.functional.normalize(inner).T
    )
    return float(cosines.max(1).values.mean())


def test_only_short_runs_of_autoencoders_begin_near_tokens() -> None:
    short, long = 60_000, 200_000
    assert nearness(RESID, tokens=short) > nearness(RESID, tokens=long) + 0.03
    assert nearness(MLP, tokens=short) == pytest.approx(nearness(MLP, tokens=long))
    tiny = nearness(RESID, tokens=10_000)
    assert tiny == pytest.approx(nearness(RESID, tokens=long))
    topk = nearness(RESID, tokens=short, variant="topk")
    assert topk == pytest.approx(nearness(RESID, tokens=long))


def test_the_directions_have_unit_norm_and_those_of_a_shard_are_those_of_the_whole() -> None:
    found = view(RESID, config(d_dict=500, variant="batch_topk"))
    whole, part = found.initial(), found.initial(slice(250, 500))
    torch.testing.assert_close(whole["W_enc"].norm(dim=1), torch.ones(500))
    assert torch.equal(whole["W_enc"], whole["W_dec"])
    for key in ("W_enc", "W_dec", "b_enc"):
        assert torch.equal(whole[key][250:], part[key])
    assert torch.equal(whole["b_dec"], part["b_dec"])


@pytest.mark.parametrize("sites", [RESID, MLP])
def test_thresholds_begin_where_a_multiple_of_the_target_is_active(sites: tuple[str, str]) -> None:
    found = view(sites, config(d_dict=FEATURES, k=5, variant="jumprelu"))
    weights = found.initial()
    x = found.pair(next(SOURCE.batches([*sites], 4000, seed=1)))[0]
    inner = x - weights["b_dec"] if sites[0] == sites[1] else x
    pre = inner @ weights["W_enc"].T + weights["b_enc"]
    active = float((pre > weights["threshold"]).sum()) / len(x)
    assert active == pytest.approx(FIRST_L0 * 5, rel=0.1)
    part = found.initial(slice(3000, 6000))
    assert torch.equal(part["threshold"], weights["threshold"][3000:])


@pytest.mark.parametrize("options", [{"threshold": 0.01}, {"penalty": "tanh"}])
def test_a_threshold_that_is_given_and_that_of_tanh_do_not_follow(options: dict[str, Any]) -> None:
    settings = config(d_dict=FEATURES, k=5, variant="jumprelu", options=options)
    assert "threshold" not in view(RESID, settings).initial()


def test_few_features_begin_at_the_published_threshold() -> None:
    assert "threshold" not in view(RESID, config(d_dict=64, variant="jumprelu")).initial()
