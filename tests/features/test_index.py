"""The index against the dense truth it was made from."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.features.made import write_index

from inscape.core import InputError, StorageError
from inscape.features import FeatureIndex, IndexOptions, TokenTable
from inscape.features.logits import HeadInputs
from inscape.features.search import Texts, search_index, write_search
from inscape.labels import document_halves
from inscape.storage import read_json, write_json


def test_sparse_store_holds_exactly_the_active_entries(world: Any) -> None:
    for feature in range(world.index.num_features):
        rows, values = world.index.rows_of(feature)
        expected = np.flatnonzero(world.dense[:, feature])
        assert np.array_equal(rows, expected)
        np.testing.assert_allclose(values, world.dense[expected, feature], rtol=1e-3)
    assert world.index.positions.size == np.count_nonzero(world.dense)


def test_store_on_disk_is_sparse_and_memory_mapped(world: Any) -> None:
    index = world.index
    assert isinstance(index.positions, np.memmap)
    assert isinstance(index.values, np.memmap)
    cells = len(index.tokens) * index.num_features
    arrays = [np.load(p, mmap_mode="r") for p in index.folder.glob("*.npy")]
    assert max(a.size for a in arrays) < cells / 4
    assert not list(index.folder.glob("spill*"))


def test_statistics_leave_beginning_of_text_out(world: Any) -> None:
    index, dense = world.index, world.dense
    considered = world.table.considered
    assert index.num_considered == considered.sum() < len(index.tokens)
    active = dense > 0
    np.testing.assert_allclose(index.density, active[considered].mean(0), rtol=1e-6)
    np.testing.assert_allclose(index.max, dense.max(0), rtol=1e-3)
    sums = dense.sum(0) / np.maximum(active.sum(0), 1)
    np.testing.assert_allclose(index.table.column("mean_active").to_numpy(), sums, rtol=1e-3)
    edges = index.histogram_edges
    stored = np.sort(index.rows_of(3)[1].astype(np.float64))
    counts = [np.sum((stored > a) & (stored <= b)) for a, b in itertools.pairwise(edges)]
    counts[0] += np.sum(stored <= edges[0])
    assert index.histogram.shape == (index.num_features, 32)
    assert np.abs(index.histogram[3] - counts).sum() <= 2  # an entry on an edge may round


def test_top_examples_are_the_strongest_of_distinct_documents(world: Any) -> None:
    for feature in (0, 7):
        top = world.index.top(feature)
        by_document = world.dense[:, feature].reshape(40, 30).max(1)
        assert [e.document for e in top] == list(np.argsort(-by_document)[:6])
        np.testing.assert_allclose([e.value for e in top], np.sort(by_document)[::-1][:6], 1e-3)


def test_peak_tokens_are_the_commonest_at_the_peaks_of_the_top_examples(world: Any) -> None:
    for feature in range(24):
        peaks = Counter(e.tokens[e.peak] for e in world.index.top(feature))
        found = world.index.peak_tokens(feature, 3)
        assert len(found) == len(set(found)) == min(3, len(peaks))
        assert sorted((peaks[token] for token in peaks), reverse=True)[:3] == [
            peaks[token] for token in found
        ]
    assert world.index.peak_tokens(23) == []  # it never fires


def test_windows_stay_in_their_document_and_carry_the_activations(world: Any) -> None:
    for example in world.index.examples(4):
        start = example.row - example.peak
        rows = np.arange(start, start + len(example.tokens))
        assert (world.table.documents[rows] == example.document).all()
        assert world.table.considered[rows].all()  # no beginning-of-text token in a window
        assert example.token_ids == tuple(world.table.ids[rows])
        step = world.dense[:, 4].max() / 255
        np.testing.assert_allclose(example.values, world.dense[rows, 4], rtol=2e-3, atol=step / 2)
        assert [v > 0 for v in example.values] == (world.dense[rows, 4] > 0).tolist()
        assert example.values[example.peak] == example.value > 0
        assert example.position == world.table.positions[example.row]


def test_examples_come_from_every_interval(world: Any) -> None:
    for feature in (2, 9):
        largest = world.index.max[feature]
        for quantile in range(5):
            found = world.index.examples(feature, quantile)
            share = world.index.rows_of(feature)[1] / largest
            inside = (share >= quantile / 5) & ((share < (quantile + 1) / 5) | (quantile == 4))
            assert len(found) == min(4, inside.sum()) > 0
            for example in found:
                assert quantile / 5 - 1e-3 <= example.value / largest <= (quantile + 1) / 5 + 1e-3


def test_logit_effects_and_neighbours(world: Any) -> None:
    head = world.unembedding * world.weight
    effect = world.decoder @ head.T
    effect = effect - effect.mean(1, keepdim=True)
    best = effect[5].topk(12)
    assert world.index.promoted_ids(5) == best.indices.tolist()
    assert [t for t, _ in world.index.promoted(5)] == [f" t{i}" for i in best.indices.tolist()]
    np.testing.assert_allclose([v for _, v in world.index.promoted(5)], best.values, rtol=1e-3)
    assert world.index.suppressed(5)[0][1] == pytest.approx(effect[5].min().item(), rel=1e-3)
    unit = world.decoder / world.decoder.norm(dim=1, keepdim=True)
    cosines = unit @ unit[5]
    cosines[5] = -2
    assert [f for f, _ in world.index.neighbours(5)] == cosines.topk(8).indices.tolist()


def test_documents_of_equal_text_count_as_one(tmp_path: Path) -> None:
    texts = [[1, 2, 3, 4], [4, 3, 2, 1], [1, 2, 3, 4], [1, 2, 3], [4, 3, 2, 1], [1, 2, 3, 4]]
    ids = np.concatenate(texts).astype(np.int32)
    documents = np.repeat(np.arange(6, dtype=np.int32), [len(text) for text in texts])
    positions = np.concatenate([np.arange(len(text), dtype=np.int32) for text in texts])
    table = TokenTable(ids, documents, positions, positions >= 0, {})
    first = [0, 1, 0, 3, 1, 0]
    assert table.distinct.tolist() == [first[d] for d in documents]
    assert table.num_duplicates == 3
    for seed in range(20):
        inside = document_halves(table.distinct, seed)
        assert len({bool(inside[documents == d].all()) for d in (0, 2, 5)}) == 1
        assert len({bool(inside[documents == d].all()) for d in (1, 4)}) == 1
    rows = np.flatnonzero(ids == 1)
    values = np.array([[9.0], [2.0], [8.0], [3.0], [1.0], [7.0]], np.float32)
    codes = rows, np.zeros((6, 1), np.int64), values
    head = HeadInputs(torch.eye(1), None, None)
    index = write_index(tmp_path / "i", table, [codes], head, IndexOptions(num_examples=3))
    assert [e.document for e in index.top(0)] == [0, 3, 1]  # one of each text
    assert index.manifest["num_duplicates"] == 3


def test_features_that_fire_together_more_than_chance(world: Any) -> None:
    fires = world.dense[world.table.considered] > 0
    with np.errstate(invalid="ignore"):
        wanted = np.corrcoef(fires.T)  # of two binary variables this is phi
    together = fires.T.astype(int) @ fires
    for feature in range(24):
        fitting = {
            other: wanted[feature, other]
            for other in range(24)
            if other != feature and together[feature, other] >= 8 and wanted[feature, other] > 0
        }
        best = sorted(fitting.items(), key=lambda pair: -pair[1])[:8]
        found = world.index.coactive(feature)
        assert [number for number, _ in found] == [number for number, _ in best]
        np.testing.assert_allclose([v for _, v in found], [v for _, v in best], rtol=1e-3)
    assert world.index.coactive(23) == []  # it never fires


def test_always_together_is_one_and_everywhere_is_no_relation(tmp_path: Path) -> None:
    positions = np.arange(100, dtype=np.int32)
    table = TokenTable(positions, positions // 10, positions, positions >= 0, {})
    values = np.zeros((100, 4), np.float32)
    values[:, 0] = 1  # fires on every token
    values[:20, 1:3] = 1
    values[:7, 3] = 1  # too few tokens to tell
    codes = (np.arange(100), np.tile(np.arange(4), (100, 1)), values)
    index = write_index(tmp_path / "i", table, [codes], HeadInputs(torch.eye(4), None, None))
    assert index.coactive(1) == [(2, 1.0)]
    assert index.coactive(0) == index.coactive(3) == []
    assert index.density[0] == 1.0


def test_search_finds_what_features_fire_on(world: Any) -> None:
    for feature in (0, 7):
        peaks = Counter(e.tokens[e.peak].strip() for e in world.index.top(feature))
        token = max(peaks, key=lambda t: peaks[t])
        hit = next(h for h in world.index.search(token.upper(), limit=24) if h.feature == feature)
        assert {"peak", "window"} <= set(hit.where)
        assert hit.id == f"toy/{feature}"
    first, second = (t.strip() for t in world.index.top(3)[0].tokens[:2])
    phrase = world.index.search(f"{first} {second}", limit=24)
    assert 3 in [h.feature for h in phrase]
    assert len(phrase) < len(world.index.search(first, limit=24))
    assert world.index.search("nothing") == []
    for blank in ("  ", None, 5, b"a"):
        with pytest.raises(InputError, match="the search text is"):
            world.index.search(blank)
    for limit in (0, -1, "a"):
        with pytest.raises(InputError, match=f"limit {limit!r}; expected a whole number"):
            world.index.search("a", limit=limit)


def test_search_reduces_words_to_their_stems_and_completes_the_last(tmp_path: Path) -> None:
    features = [
        Texts([([" the", " Golden", " Ga", "te", " bridge", " is"], 3)], [" of"]),
        Texts([([" two", " old", " bridges", "="], 3)], ["="]),
        Texts([([" a", "=", "b"], 1), ([" c"], 0)], [" bridging"]),
        Texts([], []),
    ]
    write_search(tmp_path, features)

    def found(text: str) -> list[int]:
        return [hit.feature for hit in search_index(tmp_path, "toy", text, 10)]

    assert sorted(found("Bridges")) == [0, 1, 2]
    assert found("golden gat") == [0]
    assert found("gate golden") == [0]  # all words, in any order
    assert search_index(tmp_path, "toy", "golden gate", 9)[0].where == ("peak", "window")
    assert [(h.feature, h.where) for h in search_index(tmp_path, "toy", " =", 9)] == [
        (1, ("peak", "promoted")),
        (2, ("peak",)),
    ]
    assert found('" OR * --') == []
    assert found("NOT bridge") == []


def test_a_query_that_very_many_features_hold_is_ranked_at_the_peaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = [" the", " sea", " is", " blue", " now", "."]
    features = [Texts([(window, 1)] * (number + 1), []) for number in range(6)]
    features += [Texts([(window, 3)], [" sea"]) for _ in range(20)]
    write_search(tmp_path, features)
    every = search_index(tmp_path, "toy", "sea", 40)
    assert len(every) == 26
    assert {hit.feature for hit in every[:6]} == set(range(6))
    monkeypatch.setattr("inscape.features.search.MOST", 6)
    many = search_index(tmp_path, "toy", "sea", 40)
    assert {(hit.feature, hit.where) for hit in many} == {(n, ("peak",)) for n in range(6)}
    assert {hit.where for hit in search_index(tmp_path, "toy", "is blue", 3)} == {("peak",)}
    # at no peak: among the first that hold it anywhere
    elsewhere = search_index(tmp_path, "toy", "now", 40)
    assert {(hit.feature, hit.where) for hit in elsewhere} == {(n, ("window",)) for n in range(6)}


def test_an_index_without_or_with_a_damaged_search_file_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be searched"):
        search_index(tmp_path, "toy", "x", 1)
    (tmp_path / "search.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match="search.sqlite"):
        search_index(tmp_path, "toy", "x", 1)


def test_a_feature_outside_the_dictionary_is_named(world: Any) -> None:
    for read in (world.index.rows_of, world.index.examples, world.index.promoted):
        for wrong in (24, -1, None, "3", 1.5):
            with pytest.raises(InputError, match="dictionary 'toy' has no feature .*; expected 0"):
                read(wrong)


def test_damage_and_newer_versions_are_told(make: Any) -> None:
    folder: Path = make().index.folder
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", manifest | {"version": 99})
    with pytest.raises(StorageError, match="found version 99"):
        FeatureIndex.open(folder)
    write_json(folder / "manifest.json", manifest | {"version": 2})
    with pytest.raises(StorageError, match="is a feature index of version 2; expected version 3"):
        FeatureIndex.open(folder)
    write_json(folder / "manifest.json", manifest)
    (folder / "positions.npy").write_bytes(b"short")
    with pytest.raises(StorageError, match=r"positions\.npy"):
        FeatureIndex.open(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("positions", 5000), ("positions", -3), ("values", np.nan)]
)
def test_damaged_activations_end_in_one_line(make: Any, name: str, value: float) -> None:
    """Of the same size, so that no count or header gives them away."""
    index = make().index
    array = np.load(index.folder / f"{name}.npy")
    array[index.indptr[4] + 2] = value
    np.save(index.folder / f"{name}.npy", array)
    opened = FeatureIndex.open(index.folder)  # which compares sizes alone
    with pytest.raises(StorageError, match=f"{name}.npy differs from its checksum"):
        opened.rows_of(0)
    with pytest.raises(StorageError, match=f"{name}.npy differs from its checksum"):
        FeatureIndex.open(index.folder, verify=True)


def test_lists_have_room_for_more_than_two_thousand_million_entries(world: Any) -> None:
    for file in ("features", "examples"):
        schema = pq.read_schema(world.index.folder / f"{file}.parquet")
        lists = [field.type for field in schema if "list" in str(field.type)]
        assert lists
        assert all(str(kind).startswith("large_list") for kind in lists)


def test_contexts_and_search_show_characters_that_several_tokens_make_up(tmp_path: Path) -> None:
    texts = ["<s>", " a", " <0xEB>", "<0x8C><0x80>", "한"]
    ids = np.array([0, 1, 2, 3, 4] * 3, np.int32)
    documents = np.repeat(np.arange(3, dtype=np.int32), 5)
    positions = np.tile(np.arange(5, dtype=np.int32), 3)
    table = TokenTable(ids, documents, positions, positions > 0, dict(enumerate(texts)))
    rows = np.array([2, 7, 12])  # the first part of a character
    code = rows, np.zeros((3, 1), np.int64), np.ones((3, 1), np.float32)
    head = HeadInputs(torch.eye(1), torch.ones(5, 1), torch.ones(1))
    index = write_index(tmp_path / "i", table, [code], head)
    for example in index.top(0):
        assert example.text == " a 대한"
        assert example.tokens[example.shown_peak] == " 대"
    assert index.peak_tokens(0) == [" <0xEB>"]
    assert [hit.feature for hit in index.search("대한")] == [0]
