"""Shuffled batches: complete, deterministic, and able to start anywhere."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.families import VOCAB_SIZE, tiny

from inscape.activations import ActivationStore, harvest
from inscape.core import DataError, InputError, SiteError, StorageError
from inscape.model import Model
from inscape.training import TrainConfig, train

SITES = ["mlp_in.0", "mlp_out.0"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    rng = np.random.default_rng(1)
    corpus = [rng.integers(3, VOCAB_SIZE, size=20).tolist() for _ in range(20)]
    model = Model.wrap(tiny("llama"), name="tiny", bos="always")
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


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_a_part_of_each_batch_is_those_rows_of_it(store: ActivationStore, memory: int) -> None:
    whole = islice(store.batches(SITES, 48, seed=5), 12)  # crosses epochs
    part = store.batches(SITES, 48, seed=5, memory=memory, part=slice(1, None, 3))
    for one, other in zip(whole, part, strict=False):
        assert all(torch.equal(one[site][1::3], other[site]) for site in SITES)


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


def damaged(store: ActivationStore, folder: Path) -> Path:
    """A copy of the store: one shard with a changed byte, one cut short."""
    shutil.copytree(store.path, folder)
    changed = folder / "shard-00000.safetensors"
    raw = bytearray(changed.read_bytes())
    raw[-1] ^= 1
    changed.write_bytes(raw)
    cut = folder / "shard-00002.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    return folder


def test_broken_shards_are_left_out_only_where_that_is_asked_for(
    store: ActivationStore, tmp_path: Path
) -> None:
    folder = damaged(store, tmp_path / "store")
    with pytest.raises(StorageError, match="shard-00002"):
        ActivationStore.open(folder)
    with pytest.raises(StorageError, match="shard-00000"):
        ActivationStore.open(folder, verify=True)
    rest = ActivationStore.open(folder, skip_corrupt=True)
    assert rest.skipped == ["shard-00000.safetensors", "shard-00002.safetensors"]
    sizes = store.manifest["shards"]
    kept = np.r_[sizes[0] : sizes[0] + sizes[1]]
    assert len(sizes) == 3
    assert rest.num_tokens == sizes[1]
    assert np.array_equal(rest.tokens().ids, store.tokens().ids[kept])
    for site in SITES:
        assert np.array_equal(rest.read(site), store.read(site, kept))
        x = store.read(site, kept[store.tokens().kept[kept]]).astype(np.float64)
        stats = rest.site_stats(site)
        assert stats.count == len(x) == rest.num_kept
        np.testing.assert_allclose(stats.mean, x.mean(0), atol=1e-6)
        assert stats.mean_norm == pytest.approx(np.linalg.norm(x, axis=1).mean(), rel=1e-5)
    assert ActivationStore.open(store.path, skip_corrupt=True).skipped == []


def test_a_training_does_not_go_on_without_shards_that_it_began_with(
    store: ActivationStore, tmp_path: Path
) -> None:
    config = TrainConfig(d_dict=64, k=4, tokens=640, batch_size=64)
    train(store, *SITES, tmp_path / "d", config, name="d")
    rest = ActivationStore.open(damaged(store, tmp_path / "store"), skip_corrupt=True)
    with pytest.raises(InputError, match="another activations"):
        train(rest, *SITES, tmp_path / "d", config, name="d")


def test_a_store_without_any_whole_shard_or_without_its_statistics_is_refused(
    store: ActivationStore, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(store.path, folder)
    (folder / "stats.safetensors").unlink()
    with pytest.raises(StorageError, match=r"stats\.safetensors is broken"):
        ActivationStore.open(folder, skip_corrupt=True)
    shutil.copy(store.path / "stats.safetensors", folder)
    for path in folder.glob("shard-*"):
        path.unlink()
    with pytest.raises(StorageError, match="every shard is broken"):
        ActivationStore.open(folder, skip_corrupt=True)
