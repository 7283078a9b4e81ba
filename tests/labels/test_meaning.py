"""Vectors of what features are about: against plain sums, and searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inscape.core import StorageError
from inscape.features import TokenTable
from inscape.labels import Meaning, Searched, search, write_meanings
from inscape.labels.meaning import PIECE, cut, feature_vectors, packed, products


class Counting:
    """An embedder: a text's vector is the shares of three words in it."""

    name, hash = "counting", "0"
    words = ("sea", "cat", "war")

    def embed(self, texts: Any) -> Any:
        found = np.array([[text.split().count(w) for w in self.words] for text in texts])
        return (found / np.maximum(np.linalg.norm(found, axis=1), 1)[:, None]).astype(np.float32)


def test_the_text_is_cut_into_pieces_within_sequences() -> None:
    lengths = [1, PIECE, 2 * PIECE + 3]
    documents = np.repeat(np.arange(3, dtype=np.int32), lengths)
    positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    table = TokenTable(np.zeros(sum(lengths), np.int32), documents, positions, positions > 0, {})
    of_row, starts = cut(table)
    for piece, start in enumerate(starts):
        (rows,) = np.nonzero(of_row == piece)
        assert rows[0] == start
        assert 1 <= rows.size <= PIECE
        assert len(set(documents[rows])) == 1
    assert (of_row[(positions == 0) & (documents > 0)] == -1).all()


def test_vectors_are_weighted_means_less_that_of_all(planted: Any) -> None:
    index = planted.index
    of_row, starts = cut(index.tokens)
    vectors = np.random.default_rng(0).normal(size=(starts.size, 5)).astype(np.float32)
    found = feature_vectors(index, of_row, vectors)
    for feature in range(index.num_features):
        rows, values = index.rows_of(feature)
        weights = np.zeros(starts.size)
        np.maximum.at(weights, of_row[rows], values)
        weights **= 2
        if weights.sum() == 0:
            assert (found[feature] == 0).all()
        else:
            plain = weights @ vectors / weights.sum() - vectors.mean(0)
            plain /= np.linalg.norm(plain)
            np.testing.assert_allclose(found[feature], plain, atol=1e-5)


def test_products_are_those_of_the_vectors() -> None:
    rng = np.random.default_rng(0)
    vectors, query = rng.normal(size=(50, 384)), rng.normal(size=384).astype(np.float32)
    rows, scales = packed(vectors)
    assert rows.dtype == np.int8
    np.testing.assert_allclose(products(rows, query) * scales, vectors @ query, atol=0.5)
    assert (products(rows, np.zeros(384, np.float32)) == 0).all()


def test_features_are_found_by_what_their_examples_are_about(
    planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, embedder = planted.index, Counting()
    monkeypatch.setattr(
        Counting, "words", tuple(token.strip() for token in index.peak_tokens(0)[:3])
    )
    (made,) = write_meanings({tmp_path / "m": index}, embedder)  # type: ignore[dict-item, arg-type]
    assert made.embedder == "0"
    (again,) = write_meanings({tmp_path / "m": index}, embedder)  # type: ignore[dict-item, arg-type]
    assert (again.rows == made.rows).all()
    hits = search([Searched(index, meaning=made)], Counting.words[0], embedder=embedder)  # type: ignore[arg-type]
    best = int(made.cosines(embedder.embed([Counting.words[0]])[0]).argmax())
    (hit,) = [hit for hit in hits if hit.feature == best]
    assert "meaning" in hit.where
    assert "its examples are about it" in hit.why
    allowed = np.zeros(index.num_features, np.bool_)
    allowed[best] = True
    source = Searched(index, meaning=made, allowed=allowed)
    assert {hit.feature for hit in search([source], Counting.words[0], embedder=embedder)} == {best}  # type: ignore[arg-type]
    monkeypatch.setattr(Counting, "hash", "1")
    with pytest.raises(StorageError, match="another index or embedder"):
        write_meanings({tmp_path / "m": index}, embedder)  # type: ignore[dict-item, arg-type]
    (tmp_path / "m" / "vectors.npy").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"vectors\.npy"):
        Meaning.open(tmp_path / "m")
