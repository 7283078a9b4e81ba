"""Detection scores against their definitions, and the words that labels are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from inscape.labels import Words, document_halves
from inscape.labels.scoring import bootstrap_weights, detection
from inscape.labels.words import CLASSES


def test_scores_equal_sklearn() -> None:
    rng = np.random.default_rng(0)
    weights = bootstrap_weights(60, rng)
    for _ in range(5):
        positive = rng.random(150) < 0.5
        score = np.round(rng.normal(positive * 0.8, 1), 1)
        documents = rng.integers(0, 50, 150).astype(np.int32)
        found = detection(score, positive, documents, weights)
        assert found.auroc == pytest.approx(roc_auc_score(positive, score))
        assert found.low < found.auroc < found.high


def test_the_interval_covers_the_truth_when_documents_agree_within() -> None:
    """Windows of a document share their fate: 20 documents of 10 windows are 20 observations."""
    rng = np.random.default_rng(1)
    weights = bootstrap_weights(40, rng)
    covered = 0
    for _ in range(100):
        positive = np.repeat(np.arange(40) % 2 == 0, 10)
        right = np.repeat(rng.random(40) < 0.8, 10)
        score = np.where(right, positive, ~positive) * 1.0
        documents = np.repeat(np.arange(40, dtype=np.int32), 10)
        found = detection(score, positive, documents, weights)
        covered += found.low <= 0.8 <= found.high
    assert covered >= 85  # resampling windows instead covers about half of them


def test_words_are_cut_and_numbered(planted: Any) -> None:
    words = Words(planted.index)
    rows = np.array([5, 30, 100])
    for row, value in zip(rows, words.values("word", rows)[:, 0], strict=True):
        token = planted.index.tokens.ids[row]
        assert words.text("word", value) == planted.index.tokens.text(token).strip()
    first = np.array([1])  # right after the beginning of a text there is nothing before
    assert words.text("start", words.values("start", first)[0, 0]) == "first"
    assert words.values("previous", first)[0, 0] == -1
    phrase = words.values("phrase", np.array([3]))[0]
    texts = [words.text("phrase", v) for v in phrase if v >= 0]
    bare = [planted.index.tokens.text(i).strip() for i in planted.index.tokens.ids[:8]]
    assert " ".join(bare[2:4]) in texts
    assert " ".join(bare[1:4]) in texts


def test_phrases_do_not_cross_texts(planted: Any) -> None:
    words = Words(planted.index)
    last, length = np.array([23]), 24  # the last token of the first text
    texts = [words.text("phrase", v) for v in words.values("phrase", last)[0] if v >= 0]
    ids = planted.index.tokens.ids
    inside = {planted.index.tokens.text(i).strip() for i in ids[:length]}
    assert texts
    assert all(set(text.split()) <= inside for text in texts)
    assert len(texts) == 2  # the pair and the triple that end here


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Golden", "capitalised words"),
        ("gate", None),
        ("48", "numbers"),
        ("1948", "numbers, years"),
        (".", "punctuation"),
        ("\n\n", "line breaks"),
        ("ACGT", "words in capitals"),
        ("I", "single capital letters"),
        ("x2", "names with digits"),
        ("é", "letters beyond English"),
    ],
)
def test_classes_of_words(text: str, expected: str | None) -> None:
    found = [name for name, look in CLASSES.items() if look.fullmatch(text)]
    assert ", ".join(found) == (expected or "")


def test_halves_are_whole_documents() -> None:
    split = document_halves(np.repeat(np.arange(40, dtype=np.int32), 30)).reshape(40, 30)
    assert (split.all(1) | ~split.any(1)).all()
    assert split[:, 0].sum() == 20
