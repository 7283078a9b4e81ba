"""Maps of features in three topics, and features that are split into finer ones."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.features.made import write_index

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.features import FeatureIndex, TokenTable
from inscape.features.logits import HeadInputs
from inscape.labels import FeatureMap, families, write_map, write_meanings
from inscape.labels import map as module
from inscape.labels.taxonomy import clusters, named, unit

TOPICS = ("sea", "war", "food")
EACH, DOCUMENTS, LENGTH = 30, 60, 40
NUM = len(TOPICS) * EACH


class Topics:
    """An embedder: a text's vector is how often it names each topic."""

    name, hash = "topics", "0"

    def embed(self, texts: Any) -> Any:
        counts = [[text.count(topic) for topic in TOPICS] for text in texts]
        return unit(np.array(counts, np.float32) + 1e-3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dictionary, FeatureIndex]:
    """Features that each fire in the documents of one topic, and write near its direction."""
    rng = np.random.default_rng(0)
    n = DOCUMENTS * LENGTH
    owners = np.repeat(np.arange(DOCUMENTS, dtype=np.int32), LENGTH)
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), DOCUMENTS)
    topic = owners % len(TOPICS)
    ids = (1 + topic * 10 + rng.integers(0, 10, n)).astype(np.int32)
    texts = {i: f" {TOPICS[(i - 1) // 10]}{'abcdefghij'[(i - 1) % 10]}" for i in range(1, 31)}
    table = TokenTable(ids, owners, positions, positions > 0, texts | {0: "<s>"})
    rows = np.flatnonzero(positions > 0)
    of = np.arange(NUM) % len(TOPICS)
    active = (topic[rows][:, None] == of) & (rng.random((rows.size, NUM)) < 0.3)
    indices = np.tile(np.arange(NUM), (rows.size, 1))
    W_dec = torch.eye(8)[of] * 3 + torch.from_numpy(rng.normal(size=(NUM, 8))).float()
    head = HeadInputs(W_dec, None, None)
    folder = tmp_path_factory.mktemp("map") / "toy"
    index = write_index(folder, table, [(rows, indices, active.astype(np.float32))], head)
    return dictionary(W_dec), index


def dictionary(W_dec: torch.Tensor, name: str = "toy", k: int = 4) -> Dictionary:
    num, width = W_dec.shape
    config = DictionaryConfig(
        site_in="resid_post.1",
        site_out="resid_post.1",
        d_in=width,
        d_out=width,
        d_dict=num,
        k=k,
        subtract_b_dec=False,
    )
    zeros = {"b_enc": torch.zeros(num), "b_dec": torch.zeros(width)}
    return Dictionary(config, {"W_enc": W_dec.clone(), "W_dec": W_dec, **zeros}, name=name)


@pytest.fixture
def no_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_umap")
def test_features_of_a_topic_lie_together_under_its_name(
    made: tuple[Dictionary, FeatureIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (meaning,) = write_meanings({tmp_path / "m": made[1]}, Topics())  # type: ignore[dict-item, arg-type]
    monkeypatch.setattr("inscape.labels.taxonomy.SIZE", 6)
    monkeypatch.setattr("inscape.labels.taxonomy.GROUPS", 3)
    found = write_map(tmp_path / "map", *made, None, meaning, Topics())  # type: ignore[arg-type]
    table = pq.read_table(tmp_path / "map" / "map.parquet").to_pydict()
    assert table["feature"] == list(range(NUM))
    places = np.array([table["x"], table["y"]]).T
    assert places.min() == 0
    assert places.max() == 1
    topic = np.arange(NUM) % len(TOPICS)
    groups = [group for group in found.groups if group.level == 1]
    assert len(groups) == len(TOPICS)
    for group in groups:
        inside = np.flatnonzero(np.array(table["group"]) == group.number)
        assert len(set(topic[inside])) == 1
        assert group.name.startswith(TOPICS[topic[inside[0]]])
        assert group.auroc > 0.95
        assert group.size == inside.size
        middle = places[inside].mean(0)
        near = np.linalg.norm(places - middle, axis=1).argsort()[: inside.size]
        assert np.isin(near, inside).mean() > 0.9
    for cluster in (group for group in found.groups if group.level == 2):
        members = np.array(table["group"])[np.array(table["cluster"]) == cluster.number]
        assert set(members) == {cluster.parent}
    assert repr(found) == "FeatureMap('toy', 90 features in 3 groups)"
    assert found.manifest["layout"] == "t-SNE"
    again = write_map(tmp_path / "map", *made, None, meaning, Topics())  # type: ignore[arg-type]
    assert again.manifest == found.manifest
    other = write_map(tmp_path / "map", *made, seed=1)  # made anew, from decoders alone
    assert other.manifest["made_from"]["meaning"] is None
    assert all(group.name for group in other.groups)
    (tmp_path / "map" / "groups.parquet").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"groups\.parquet"):
        FeatureMap.open(tmp_path / "map")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="is there already"):
        write_map(tmp_path / "mine", *made)


def test_umap_lays_out_where_it_is_installed(
    made: tuple[Dictionary, FeatureIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain:
        def __init__(self, near: int, metric: str, random_state: int) -> None:
            assert (near, metric) == (15, "cosine")

        def fit_transform(self, x: Any) -> Any:
            return x[:, :2]

    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Plain))  # type: ignore[arg-type]
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    vectors[0] = 500  # an island
    places, layout = module.laid_out(vectors, 0)
    assert layout == "UMAP"
    assert places.min() == 0
    assert places.max() == 1
    rest = np.ptp(places[1:], axis=0)
    assert rest.max() > 0.1  # the others are not pressed into a point


@pytest.mark.usefixtures("no_umap")
def test_an_atlas_of_examples_only_keeps_the_map_that_it_came_with(
    made: tuple[Dictionary, FeatureIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made anew for a minute, and then refused."""
    one, index = made[0], FeatureIndex.open(made[1].folder)
    file = write_map(tmp_path / "map", one, made[1]).folder / "map.parquet"
    kept = file.read_bytes()
    monkeypatch.setattr(FeatureIndex, "has_activations", False)
    monkeypatch.setattr(module, "laid_out", None)  # nothing is laid out any more
    assert write_map(tmp_path / "map", one, index, seed=5).folder == file.parent
    assert file.read_bytes() == kept
    with pytest.raises(InputError, match="examples only"):
        write_map(tmp_path / "none", one, index)
    assert not (tmp_path / "none").exists()


def test_names_are_judged_on_members_that_they_were_not_chosen_by() -> None:
    """Groups without anything in common: the best of many names does no better than chance."""
    rng = np.random.default_rng(0)
    about = unit(rng.normal(size=(400, 16)))
    names = {f"name {i}": v for i, v in enumerate(unit(rng.normal(size=(300, 16))))}
    numbers = rng.integers(0, 10, 400).astype(np.int32)
    found = named(numbers, about, [""] * 400, names, 0)
    assert len({name for name, _ in found}) == 10
    assert abs(np.mean([auroc for _, auroc in found]) - 0.5) < 0.1


def test_every_cluster_has_one_group() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(300, 5)))
    cluster, group = clusters(vectors, 0)
    assert cluster.shape == (300,)
    assert set(cluster) == set(range(group.size))
    assert set(group) == set(range(int(group.max()) + 1))


def test_a_feature_that_is_split_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 4000
    positions = np.tile(np.arange(40, dtype=np.int32), 100)
    owners = np.repeat(np.arange(100, dtype=np.int32), 40)
    table = TokenTable(rng.integers(1, 9, n).astype(np.int32), owners, positions, positions > 0, {})
    rows = np.flatnonzero(positions > 0)
    which = rng.integers(0, 40, rows.size)
    fires = {
        "coarse": [which < 8, (which >= 8) & (which < 16)],
        "fine": [which < 3, (which >= 3) & (which < 7), (which == 7) | (which == 20), which > 30],
    }
    directions = {
        "coarse": [[1, 0, 0], [0, 1, 0]],
        "fine": [[1, 0, 0.3], [1, 0, -0.3], [-1, 0, 0], [0, 1, 0]],
    }
    both = []
    for name, active in fires.items():
        W_dec = torch.tensor(directions[name]).float()
        values = np.stack(active, axis=1).astype(np.float32)
        indices = np.tile(np.arange(len(active)), (rows.size, 1))
        head = HeadInputs(W_dec, None, None)
        index = write_index(tmp_path / name, table, [(rows, indices, values)], head, name=name)
        both.append((dictionary(W_dec, name, k=1), index))
    (family,) = families(*both)
    assert (family.coarse, family.fine, family.feature) == ("coarse", "fine", 0)
    assert [part.feature for part in family.parts] == [1, 0]
    assert all(part.within == 1 for part in family.parts)
    assert family.covered == pytest.approx(7 / 8, abs=0.05)
    wider = dictionary(torch.randn(4, 5), "wider")
    with pytest.raises(InputError, match="coarse and wider do not write into one space"):
        families(both[0], (wider, both[1][1]))
