"""Shuffled batches: complete, deterministic, and able to start anywhere."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.families import VOCAB_SIZE, tiny

from inscape.activations import ActivationStore, harvest
from inscape.core import DataError, SiteError
from inscape.model import Model

SITES = ["mlp_in.0", "mlp_out.0"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    rng = np.random.default_rng(1)
    corpus = [rng.integers(3, VOCAB_SIZE, size=20).tolist() for _ in range(20)]
    model = Model.wrap(tiny("llama"), name="tiny")
    out = tmp_path_factory.mktemp("batches") / "store"
    return harvest(model, corpus, SITES, out, context=21, shard_tokens=150)


def test_an_epoch_sees_every_token_once(store: ActivationStore) -> None:
    batches = list(store.batches(SITES, 64, seed=3, epochs=1))
    assert [len(batch[SITES[0]]) for batch in batches] == [64] * 6 + [16]
    kept = np.flatnonzero(store.tokens().kept)
    for site in SITES:
        found = torch.cat([batch[site] for batch in batches]).numpy()
        wanted = store.read(site, kept)
        assert not np.array_equal(found, wanted)
        assert np.array_equal(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)])


def test_sites_of_a_batch_are_of_the_same_tokens(store: ActivationStore) -> None:
    batch = next(store.batches(SITES, 32, seed=3))
    inputs, outputs = (store.read(site) for site in SITES)
    for x, y in zip(batch[SITES[0]].numpy(), batch[SITES[1]].numpy(), strict=True):
        row = int(np.flatnonzero((inputs == x).all(1))[0])
        assert np.array_equal(outputs[row], y)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_batches_are_the_same_from_any_start(store: ActivationStore, memory: int) -> None:
    wanted = list(islice(store.batches(SITES, 48, seed=5), 20))  # crosses epochs
    found = list(islice(store.batches(SITES, 48, seed=5, start=7, memory=memory), 13))
    for one, other in zip(wanted[7:], found, strict=True):
        assert all(torch.equal(one[site], other[site]) for site in SITES)
    other_seed = next(store.batches(SITES, 48, seed=6))
    assert not torch.equal(other_seed[SITES[0]], wanted[0][SITES[0]])


def test_unknown_site_is_named(store: ActivationStore) -> None:
    with pytest.raises(SiteError, match=r"resid_post\.2"):
        next(store.batches(["resid_post.2"], 8, seed=0))


def test_nan_is_named_by_shard_and_row(store: ActivationStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in store.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    spoiled = ActivationStore.open(copy)
    data = spoiled._shards[1].map(SITES[0])
    path = copy / "shard-00001.safetensors"
    place = data.offset + 5 * data.strides[0]
    raw = bytearray(path.read_bytes())
    raw[place : place + 2] = b"\xc0\x7f"  # NaN in bf16
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"shard-00001.* mlp_in\.0, row 5"):
        list(ActivationStore.open(copy).batches(SITES, 32, seed=0, epochs=1))
