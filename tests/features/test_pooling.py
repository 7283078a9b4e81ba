"""Texts pooled into one number a feature, and the AUROC of many columns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tests.families import tiny

from inscape.core import wilson
from inscape.dictionary import neurons
from inscape.features import PooledTexts, auroc_interval, aurocs, pool_texts
from inscape.model import Model

TEXTS = [[5, 6, 7], [9], [], [6, 6, 8, 3, 4, 4, 7, 7, 5, 3, 11, 6]]
MOST, WIDTH = 8, 64


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"))


@pytest.fixture(scope="module")
def found(model: Model) -> PooledTexts:
    return pool_texts(model, TEXTS, [neurons(model, 1)], ["mlp_act.1"], max_tokens=MOST)


def test_channels_and_features_are_pooled_over_the_tokens_of_each_text(
    model: Model, found: PooledTexts
) -> None:
    features, raw = found.dictionaries["mlp_act.1"], found.sites["mlp_act.1"]
    assert features.lengths.tolist() == [3, 1, 0, MOST]
    for number, ids in enumerate(TEXTS):
        x = torch.zeros(1, WIDTH)
        if ids:
            run = model.run(torch.tensor([ids[:MOST]]), read=["mlp_act.1"])
            x = run["mlp_act.1"][0].bfloat16().float()
        signed = {"max": x.amax(0), "min": x.amin(0), "mean": x.mean(0), "last": x[-1]}
        both = torch.cat([x, -x], 1).clamp(min=0)
        positive = {"max": both.amax(0), "sum": both.sum(0), "last": both[-1]}
        for pooled, expected in ((raw, signed), (features, positive)):
            for pooling, values in expected.items():
                got = pooled.values(pooling, [number])[0]
                np.testing.assert_allclose(got, values.numpy(), rtol=1e-5, atol=1e-6)


def test_chosen_columns_are_those_of_the_whole(found: PooledTexts) -> None:
    features = found.dictionaries["mlp_act.1"]
    whole = features.values("mean", [3, 0])
    assert np.array_equal(features.values("mean", [3, 0], [70, 2]), whole[:, [70, 2]])


def test_tokens_are_those_that_a_text_holds(found: PooledTexts) -> None:
    held = found.tokens.values("any", range(len(TEXTS)))
    assert [sorted(np.flatnonzero(row).tolist()) for row in held] == [
        sorted(set(ids[:MOST])) for ids in TEXTS
    ]
    assert held.max() == 1


def test_aurocs_equal_scikit_learns_with_ties() -> None:
    draw = np.random.default_rng(0)
    scores = draw.integers(0, 4, (200, 5)).astype(np.float32)
    positive = draw.random(200) < 0.3
    expected = [roc_auc_score(positive, column) for column in scores.T]
    np.testing.assert_allclose(aurocs(scores, positive), expected, rtol=1e-12)
    assert np.isnan(aurocs(scores, np.ones(200, bool))).all()


def test_an_interval_holds_the_truth_and_widens_with_few_groups() -> None:
    draw = np.random.default_rng(1)
    positive = np.arange(400) % 2 == 0
    scores = draw.normal(size=400) + positive  # truth: Φ(1 / √2) = 0.760
    low, high = auroc_interval(scores, positive)
    assert low < 0.76 < high
    assert high - low < 0.12
    document = np.arange(400) // 40
    shifted = scores + 2 * draw.normal(size=10)[document] * positive
    alone, together = (
        np.diff(auroc_interval(shifted, positive, groups=g))[0] for g in (None, document)
    )
    assert together > 1.5 * alone


def test_sets_that_do_not_overlap_are_no_surer_than_their_number() -> None:
    """Every draw of three texts and three others gives 1: that is no interval of 1 to 1."""
    scores, positive = np.array([5.0, 6, 7, 1, 2, 3]), np.arange(6) < 3
    assert auroc_interval(scores, positive) == wilson(3, 3)
    assert auroc_interval(-scores, positive) == wilson(0, 3)
    document = np.array([0, 0, 1, 2, 2, 3])  # two documents of each
    assert auroc_interval(scores, positive, groups=document) == wilson(2, 2)
