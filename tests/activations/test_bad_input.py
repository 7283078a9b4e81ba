"""Arguments of the wrong type or size are named, with what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families import tiny

from inscape.activations import (
    ActivationStore,
    JoinedStores,
    OnlineActivations,
    TensorActivations,
    TextActivations,
    documents,
    harvest,
)
from inscape.core import InscapeError
from inscape.model import Model

SITE = "resid_post.0"
TEXTS = [[5, 6, 7, 8]] * 20
HELD = TensorActivations(torch.ones(20, 3))
ORDER: dict[str, Any] = {"sites": [SITE], "batch_size": 4, "seed": 0}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("gpt2"), name="tiny")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ActivationStore.open(5), "a store at 5; expected a path"),
        (lambda: TensorActivations("x"), "activations 'x'; expected a tensor"),
        (lambda: TensorActivations({SITE: [1.0]}), "activations at resid_post.0: [1.0]"),
        (lambda: TensorActivations(torch.ones(3)), "activations of shape (3,)"),
        (lambda: JoinedStores(None), "stores to join: None; expected stores by name"),
        (lambda: JoinedStores({"a": 1, "b": 2}), "a store to join: 1; expected an ActivationStore"),
        (lambda: next(documents(None)), "a corpus at None; expected a path"),
        (lambda: harvest(None, TEXTS, [SITE], Path("x")), "a model: None; expected what Model"),
        (lambda: OnlineActivations("gpt2", TEXTS, [SITE]), "a model: 'gpt2'"),
        (lambda: TextActivations(None, TEXTS), "a model: None"),
    ],
)
def test_what_is_no_source_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InscapeError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("text", None, "the text None; expected a path, or documents"),
        ("text", [5, 6], "a document 5; expected documents"),
        ("text", [["a", "b"]] * 3, "a document ['a', 'b']; expected documents"),
        ("sites", None, "a site cannot be None"),
        ("sites", [], "no site to read; expected at least one"),
        ("sites", ["resid_post.99"], "resid_post.99"),
        ("out", None, "a store's folder None; expected a path"),
        ("context", "long", "context 'long'; expected a whole number"),
        ("context", 100000, "context 100000 does not fit"),
        ("max_tokens", 0, "max_tokens 0; expected a whole number, 1 or more"),
        ("max_tokens", "all", "max_tokens 'all'; expected a whole number"),
        ("batch_tokens", 0, "batch_tokens 0"),
        ("shard_tokens", 0.5, "shard_tokens 0.5"),
    ],
)
def test_harvest_names_what_it_cannot_use(
    model: Model, tmp_path: Path, name: str, value: Any, message: str
) -> None:
    given = {"text": TEXTS, "sites": [SITE], "out": tmp_path / "store", name: value}
    with pytest.raises(InscapeError, match=re.escape(message)):
        harvest(model, **given)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sites", SITE, "batches of the sites 'resid_post.0'; expected a list"),
        ("sites", None, "batches of the sites None"),
        ("sites", [], "batches of the sites []"),
        ("batch_size", 0, "batches of 0; expected a whole number, 1 or more"),
        ("batch_size", None, "batches of None"),
        ("seed", "x", "seed 'x'; expected a whole number"),
        ("start", -1, "a first batch of number -1; expected a whole number, 0 or more"),
        ("epochs", -1, "epochs: -1"),
    ],
)
@pytest.mark.parametrize("kind", ["tensors", "online", "store"])
def test_batches_names_what_it_cannot_use(
    model: Model, tmp_path: Path, kind: str, name: str, value: Any, message: str
) -> None:
    source: Any = HELD
    if kind == "online":
        source = OnlineActivations(model, TEXTS, [SITE], context=8)
    elif kind == "store":
        source = harvest(model, TEXTS, [SITE], tmp_path / "store")
    with pytest.raises(InscapeError, match=re.escape(message)):
        next(source.batches(**{**ORDER, name: value}))


@pytest.mark.parametrize("rows", ["abc", None, [0.5, "x"], [10**6]])
def test_tokens_that_a_store_does_not_have_are_named(
    model: Model, tmp_path: Path, rows: Any
) -> None:
    store = harvest(model, TEXTS, [SITE], tmp_path / "store")
    with pytest.raises(InscapeError, match="tokens"):
        store.read(SITE, rows)
