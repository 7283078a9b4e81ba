"""A small index made from codes that the tests choose, without a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.features.made import write_index

from inscape.features import FeatureIndex, IndexOptions, TokenTable
from inscape.features.logits import HeadInputs

NUM_DOCUMENTS, LENGTH, VOCAB, NUM_FEATURES, K = 40, 30, 50, 24, 4


@dataclass
class World:
    """The codes that an index was made from, for comparison: dense [n, m]."""

    table: TokenTable
    dense: NDArray[np.float32]
    index: FeatureIndex
    decoder: torch.Tensor
    unembedding: torch.Tensor
    weight: torch.Tensor


def make_table(rng: np.random.Generator) -> TokenTable:
    n = NUM_DOCUMENTS * LENGTH
    ids = rng.integers(1, VOCAB, n).astype(np.int32)
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), NUM_DOCUMENTS)
    ids[positions == 0] = 0
    documents = np.repeat(np.arange(NUM_DOCUMENTS, dtype=np.int32), LENGTH)
    return TokenTable(ids, documents, positions, positions > 0, {i: f" t{i}" for i in range(VOCAB)})


def make_world(folder: Path, num_examples: int = 6) -> World:
    rng = np.random.default_rng(0)
    table = make_table(rng)
    n = len(table)
    indices = np.stack([rng.permutation(NUM_FEATURES)[:K] for _ in range(n)]).astype(np.int64)
    values = np.maximum(rng.normal(1.0, 1.0, (n, K)), 0).astype(np.float32)
    values[indices == NUM_FEATURES - 1] = 0  # the last feature never fires
    dense = np.zeros((n, NUM_FEATURES), np.float32)
    np.put_along_axis(dense, indices, values, 1)
    dense[~table.considered] = 0
    rows = np.flatnonzero(table.considered)
    batches = [(rows[i : i + 97],) for i in range(0, rows.size, 97)]
    torch.manual_seed(0)
    decoder, unembedding = torch.randn(NUM_FEATURES, 8), torch.randn(VOCAB, 8)
    weight = torch.rand(8) + 0.5
    index = write_index(
        folder,
        table,
        ((b, indices[b], values[b]) for (b,) in batches),
        HeadInputs(decoder, unembedding, weight),
        IndexOptions(num_examples=num_examples),
    )
    return World(table, dense, index, decoder, unembedding, weight)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("index") / "toy")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], World]:
    return lambda: make_world(tmp_path / "toy")
