"""An index with planted features: what each one fires on is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.features.made import write_index

from inscape.features import FeatureIndex, IndexOptions, TokenTable
from inscape.features.logits import HeadInputs

NUM_DOCUMENTS, LENGTH, VOCAB = 240, 24, 40
TOKEN, BIGRAM, RANDOM, CONTEXT, DOCUMENT, NEXT, RARE, DEAD, DIGIT = range(9)


@dataclass
class Planted:
    """planted[f] is the bool mask [n] of the tokens on which feature f fires."""

    index: FeatureIndex
    planted: NDArray[np.bool_]


def text_of(token: int) -> str:
    """Token 0 opens a text; 30 to 39 are digits, the others words of their own."""
    return "" if token == 0 else f" {token - 30}" if token >= 30 else f" w{chr(96 + token)}"


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    rng = np.random.default_rng(0)
    n = NUM_DOCUMENTS * LENGTH
    ids = rng.integers(1, VOCAB, n).astype(np.int32)
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), NUM_DOCUMENTS)
    documents = np.repeat(np.arange(NUM_DOCUMENTS, dtype=np.int32), LENGTH)
    # token 7 is as common after 5 as elsewhere, so that the token alone does not tell
    ids[positions % 6 == 2] = 5
    ids[(positions % 6 == 3) & (rng.random(n) < 0.5)] = 7
    ids[(positions % 6 == 5) & (rng.random(n) < 0.5)] = 7
    topic = np.repeat(rng.random(NUM_DOCUMENTS) < 0.3, LENGTH)
    ids[ids == 29] = 28
    ids[(positions == 12) & topic] = 29  # the topic's word, once a document
    ids[positions == 0] = 0
    inner = positions > 0
    after = np.append(0, ids[:-1])
    before = np.append(ids[1:], 0)
    recent = np.zeros(n, bool)
    for back in range(1, 9):
        same = positions > back
        recent[back:] |= (ids[:-back] == 11) & same[back:]
    masks = np.zeros((9, n), bool)
    masks[TOKEN] = ids == 9
    masks[BIGRAM] = (ids == 7) & (after == 5)
    masks[RANDOM] = rng.random(n) < 0.1
    masks[CONTEXT] = recent
    masks[DOCUMENT] = topic
    masks[NEXT] = (before == 13) & (positions < LENGTH - 1)
    masks[RARE, 100:104] = True
    masks[DIGIT] = ids >= 30
    masks &= inner
    values = (masks * rng.uniform(0.2, 1.0, masks.shape)).T.astype(np.float32)
    rows = np.flatnonzero(inner)
    indices = np.tile(np.arange(9, dtype=np.int64), (rows.size, 1))
    torch.manual_seed(0)
    unembedding = torch.randn(VOCAB, 16)
    decoder = torch.randn(9, 16)
    decoder[NEXT] = unembedding[13]  # promotes the token that it comes before
    folder: Path = tmp_path_factory.mktemp("labels") / "toy"
    index = write_index(
        folder,
        TokenTable(ids, documents, positions, inner, {i: text_of(i) for i in range(VOCAB)}),
        [(rows, indices, values[rows])],
        HeadInputs(decoder, unembedding, None),
        IndexOptions(num_examples=5),
    )
    return Planted(index, masks)
