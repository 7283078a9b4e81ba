"""Choosing features for a concept: exact figures, chosen and judged on different documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from inscape.core import InputError
from inscape.features import best_features, best_threshold, document_halves, sparse_auroc


def masks(world: Any, feature: int, noise: float) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(3)
    positives = (world.dense[:, feature] > 0.8) ^ (rng.random(len(world.dense)) < noise)
    considered = rng.random(len(world.dense)) < 0.9
    return positives, considered, document_halves(world.table.documents, 1)


def test_auroc_equals_sklearn_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        score = np.round(np.maximum(rng.normal(0, 1, 300), 0), 1)  # many ties, half at zero
        truth = rng.random(300) < 0.2 + 0.3 * (score > 0.5)
        active = score > 0
        found = sparse_auroc(score[active], truth[active], truth.sum(), (~truth).sum())
        assert found == pytest.approx(roc_auc_score(truth, score), abs=1e-12)


def test_best_threshold_equals_trying_them_all() -> None:
    rng = np.random.default_rng(1)
    score = np.round(np.maximum(rng.normal(0, 1, 200), 0), 1)
    truth = rng.random(200) < 0.1 + 0.6 * (score > 1)
    active = score > 0
    threshold, f1 = best_threshold(score[active], truth[active], truth.sum())
    tried = {t: f1_score(truth, score >= t) for t in np.unique(score[active])}
    assert f1 == pytest.approx(max(tried.values()))
    assert tried[threshold] == pytest.approx(f1)


def test_ranking_and_figures_equal_a_dense_search(world: Any) -> None:
    positives, considered, split = masks(world, 6, 0.01)
    found = best_features(world.index, positives, considered, split, top=4)
    counted = considered & world.table.considered
    chosen: dict[int, float] = {}
    for feature in range(world.index.num_features):
        dense = np.zeros(world.index.num_tokens, np.float32)
        rows, values = world.index.rows_of(feature)
        dense[rows] = values
        half = counted & split
        thresholds = np.unique(dense[half & (dense > 0)])
        fires = dense[half][None] >= thresholds[:, None]
        truth = positives[half]
        scores = 2 * (fires & truth).sum(1) / (fires.sum(1) + truth.sum())
        chosen[feature] = max(scores.tolist(), default=0.0)
        match = next((m for m in found if m.feature == feature), None)
        if match is not None:
            other = counted & ~split
            assert match.selection_f1 == pytest.approx(chosen[feature])
            assert match.auroc == pytest.approx(roc_auc_score(positives[other], dense[other]))
            fires = dense[other] >= match.threshold
            assert match.f1 == pytest.approx(f1_score(positives[other], fires))
            assert match.recall == pytest.approx(fires[positives[other]].mean())
            assert match.num_positives == positives[other].sum()
    assert [m.feature for m in found] == sorted(chosen, key=lambda f: -chosen[f])[:4]
    assert found[0].feature == 6


def test_the_judging_half_changes_nothing_that_is_chosen(world: Any) -> None:
    positives, considered, split = masks(world, 6, 0.01)
    scrambled = positives.copy()
    scrambled[~split] = np.random.default_rng(9).permutation(positives[~split])
    plain = best_features(world.index, positives, considered, split)
    other = best_features(world.index, scrambled, considered, split)
    assert [(m.feature, m.threshold) for m in plain] == [(m.feature, m.threshold) for m in other]
    assert other[0].auroc < 0.65 < plain[0].auroc


def test_halves_are_whole_documents(world: Any) -> None:
    split = document_halves(world.table.documents)
    per_document = split.reshape(40, 30)
    assert (per_document.all(1) | ~per_document.any(1)).all()
    assert per_document[:, 0].sum() == 20


def test_bad_masks_are_told_in_one_line(world: Any) -> None:
    positives, considered, split = masks(world, 6, 0.0)
    with pytest.raises(InputError, match="selection half has 0 positive"):
        best_features(world.index, positives & ~split, considered, split)
    with pytest.raises(InputError, match=r"shape \(1200,\)"):
        best_features(world.index, positives[:-1], considered, split)
