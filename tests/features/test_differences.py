"""The search for features that tell two sets of texts apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.families import D_MODEL, VOCAB_SIZE, tiny

from inscape.core import InputError
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.features import differences
from inscape.model import Model

MARK = 7
D_DICT = 400


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"), name="tiny", bos="always")


@pytest.fixture(scope="module")
def toy(model: Model) -> Dictionary:
    """Random features of the embeddings, and one that fires on MARK alone (number 0)."""
    torch.manual_seed(0)
    embedded = model.run(torch.tensor([[MARK]]), read=["embed"])["embed"][0, 0]
    W_enc = torch.randn(D_DICT, D_MODEL)
    W_enc[0] = embedded / embedded.norm() ** 2
    b_enc = torch.zeros(D_DICT)
    b_enc[0] = -0.9
    weights = {
        "W_enc": W_enc,
        "b_enc": b_enc,
        "W_dec": W_enc.clone(),
        "b_dec": torch.zeros(D_MODEL),
        "threshold": torch.zeros(D_DICT),
    }
    config = DictionaryConfig(
        kind="threshold",
        site_in="embed",
        site_out="embed",
        d_in=D_MODEL,
        d_out=D_MODEL,
        d_dict=D_DICT,
        subtract_b_dec=False,
    )
    return Dictionary(config, weights, name="toy")


def texts(count: int, seed: int, marked: bool = False) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    usual = list(range(8, VOCAB_SIZE))
    made = [rng.choice(usual, rng.integers(3, 9)).tolist() for _ in range(count)]
    return [[*text[:2], MARK, *text[2:]] if marked else text for text in made]


def test_the_feature_that_tells_two_sets_apart_is_found(model: Model, toy: Dictionary) -> None:
    best, *others = differences(model, [toy], texts(20, 1, marked=True), texts(20, 2), limit=5)
    assert (best.feature, best.chosen, best.auroc) == (0, 1.0, 1.0)
    assert best.low == pytest.approx(0.722, abs=0.001)  # ten of ten, by Wilson
    assert len(others) == 4
    (back, *_) = differences(model, [toy], texts(20, 2), texts(20, 1, marked=True), limit=5)
    assert (back.feature, back.auroc) == (0, 0.0)


def test_what_looks_best_by_chance_is_judged_on_other_texts(model: Model, toy: Dictionary) -> None:
    """Sets without a difference: the best of many look good where they are chosen alone."""
    found = [
        one
        for seed in range(0, 20, 2)
        for one in differences(model, [toy], texts(16, seed), texts(16, seed + 1), limit=10)
    ]
    chosen = np.array([abs(one.chosen - 0.5) for one in found])
    judged = np.array([np.sign(one.chosen - 0.5) * (one.auroc - 0.5) for one in found])
    assert chosen.mean() > 0.3
    assert abs(judged.mean()) < 0.1


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["a b", "b c", "c d", "c d"], ["e", "f", "g", "h"], "the first set holds 3 different"),
        (["a", "b", "c", "d"], ["e"], "the second set holds 1 different"),
        (["a", "b", "c", "d"], ["e", "f", "g", "b"], "'b' is in both sets"),
    ],
)
def test_sets_that_allow_no_judgement_are_refused(
    model: Model, toy: Dictionary, first: Any, second: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        differences(model, [toy], first, second)
