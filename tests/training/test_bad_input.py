"""Arguments of the wrong type or size are named, with what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inscape.activations import TensorActivations
from inscape.core import InputError
from inscape.dictionary import DictionaryConfig
from inscape.training import (
    Job,
    SweepConfig,
    TrainConfig,
    Trainer,
    default_config,
    initial_weights,
    plan,
    sweep,
    train,
    train_from_text,
    train_many,
)

SITE = "resid_post.0"
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
CONFIG = TrainConfig(d_dict=6, k=2, tokens=40, batch_size=20)
SHAPE = DictionaryConfig(
    site_in=SITE, site_out=SITE, d_in=3, d_out=3, d_dict=6, k=2, subtract_b_dec=True
)
SOURCE = TensorActivations(X)
GRID = SweepConfig(d_dict=(6,), k=(2,), tokens=40, batch_size=20)
ANY: Any = None  # what is refused before it is looked at


def trainer() -> Trainer:
    weights = initial_weights(SHAPE, sample=X, target_mean=X.mean(0), seed=0)
    return Trainer(SHAPE, CONFIG, weights)


def measure(_: Any) -> dict[str, float]:
    return {}


CASES: list[tuple[Callable[[Any, Path], Any], Any, str]] = [
    (lambda v, _: train(v), None, "activations from None; expected a tensor [tokens, width]"),
    (lambda v, _: train(v), "store/", "activations from 'store/'; expected a tensor"),
    (lambda v, _: train(v), torch.ones(4), "activations of shape (4,)"),
    (lambda v, _: train(v), {SITE: 5}, "activations at resid_post.0: 5; expected a tensor"),
    (lambda v, _: train(X, v), 5, "site 5; expected a name such as resid_post.3"),
    (lambda v, p: train(X, SITE, out=v, config=CONFIG), 5, "a dictionary's folder 5"),
    (lambda v, p: train(X, SITE, SITE, p / "d", v), 64, "training settings 64; expected a Train"),
    (lambda v, p: train(X, SITE, SITE, p / "d", CONFIG, name=v), 7, "a site or name 7"),
    (lambda v, p: train(X, k=v), "many", "setting k = 'many' is not usable"),
    (lambda v, p: train_many(v, [Job(SITE, SITE, p / "d", CONFIG, "d")]), 5, "activations from 5"),
    (lambda v, _: train_many(SOURCE, v), "d", "what to train: 'd'; expected one Job, or a list"),
    (lambda v, _: train_many(SOURCE, v), [CONFIG], "what to train: TrainConfig("),
    (lambda v, p: Job(SITE, v, p, CONFIG, "d"), None, "a site or name None"),
    (lambda v, _: train_from_text(ANY, [], v), 5, "what to train: 5; expected one Job"),
    (lambda v, _: default_config(v, SITE), X, "activations from tensor("),
    (lambda v, p: sweep(v, SITE, SITE, p, GRID, measure, held_out={}), 5, "activations from 5"),
    (lambda v, p: sweep(SOURCE, SITE, SITE, p, v, measure, held_out={}), 5, "a sweep: 5; expected"),
    (lambda v, p: sweep(SOURCE, SITE, SITE, v, GRID, measure, held_out={}), 5, "sweep's folder 5"),
    (lambda v, _: plan(v, SHAPE, CONFIG), None, "activations from None"),
    (lambda v, _: plan(SOURCE, v, CONFIG), 5, "the shape of a dictionary: 5"),
    (lambda v, _: plan(SOURCE, SHAPE, v), 5, "training settings 5; expected a TrainConfig"),
    (lambda v, _: plan(SOURCE, SHAPE, CONFIG, processes=v), 0, "processes: 0; expected a whole"),
    (lambda v, _: plan(SOURCE, SHAPE, CONFIG, processes=v), "two", "processes: 'two'"),
    (lambda v, _: trainer().step(v, X), "x", "a batch's input 'x'; expected a tensor [batch, 3]"),
    (lambda v, _: trainer().step(v, v), X[:, :2], "input of shape (40, 2); expected [batch, 3]"),
    (lambda v, _: trainer().step(v, v), X[0], "input of shape (3,); expected [batch, 3]"),
    (lambda v, _: trainer().step(X, v), X[:9], "a batch's target of shape (9, 3)"),
]


@pytest.mark.parametrize(("call", "value", "message"), CASES)
def test_what_does_not_fit_is_named(
    call: Callable[[Any, Path], Any], value: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call(value, tmp_path)
    assert not list(tmp_path.iterdir())
