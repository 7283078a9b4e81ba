"""Thresholds, F1 and AUROC against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from inscape_microworld.benchmark.detection import best_threshold, sparse_auroc


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
