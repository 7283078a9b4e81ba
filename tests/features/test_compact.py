"""Small copies of an index: what they keep, and examples from another text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.features.made import write_index

from inscape.core import InputError
from inscape.features import Compact, FeatureIndex, TokenTable, compact_index
from inscape.features.logits import HeadInputs
from inscape.storage import read_json


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSCAPE_CACHE", str(tmp_path / "cache"))


def test_a_small_copy_keeps_the_beginnings_of_what_there_is(world: Any, tmp_path: Path) -> None:
    whole = world.index
    keep = Compact(3, 1, num_promoted=5, num_suppressed=2, num_neighbours=4)
    small = compact_index(whole, tmp_path / "shared/toy", keep)
    assert small.hash == whole.hash  # labels of the one belong to the other
    assert not small.has_activations
    assert np.array_equal(small.num_active, whole.num_active)
    assert np.array_equal(small.histogram, whole.histogram)
    for feature in range(24):
        assert small.top(feature) == whole.top(feature)[:3]
        for interval in range(5):
            assert small.examples(feature, interval) == whole.examples(feature, interval)[:1]
        assert small.promoted(feature) == whole.promoted(feature)[:5]
        assert small.suppressed(feature) == whole.suppressed(feature)[:2]
        assert small.neighbours(feature) == whole.neighbours(feature)[:4]
        assert small.coactive(feature) == whole.coactive(feature)[:4]
        assert small.peak_tokens(feature) == whole.peak_tokens(feature)
    size = sum(path.stat().st_size for path in small.folder.iterdir())
    assert size < sum(path.stat().st_size for path in whole.folder.iterdir()) / 2
    with pytest.raises(InputError, match=r"holds examples only.*run: inscape import .* --into NEW"):
        small.rows_of(0)


def test_a_small_copy_is_searched_by_a_file_in_the_cache(world: Any, tmp_path: Path) -> None:
    small = compact_index(world.index, tmp_path / "shared/toy", Compact(6, 4, num_promoted=12))
    assert small.search(" t5") == world.index.search(" t5")
    assert not (small.folder / "search.sqlite").exists()
    (made,) = (tmp_path / "cache/search").glob("*/search.sqlite")
    before = made.stat().st_mtime_ns
    assert FeatureIndex.open(small.folder).search(" t5") == small.search(" t5")
    assert made.stat().st_mtime_ns == before


def test_examples_may_be_those_of_another_text(world: Any, tmp_path: Path) -> None:
    ids = np.array([0, 7, 8, 9] * 3, np.int32)
    positions = np.tile(np.arange(4, dtype=np.int32), 3)
    documents = np.repeat(np.arange(3, dtype=np.int32), 4)
    texts = {i: f" own{i}" for i in range(10)}
    table = TokenTable(ids, documents, positions, positions > 0, texts)
    codes = np.array([2, 6, 10]), np.full((3, 1), 4), np.full((3, 1), 2.0, np.float32)
    head = HeadInputs(world.decoder, world.unembedding, world.weight)
    own = write_index(tmp_path / "own/toy", table, [codes], head)
    keep = Compact(2, 1, histogram=False)
    made = compact_index(world.index, tmp_path / "shared/toy", keep, examples=own)
    assert [e.text for e in made.top(4)] == [" own7 own8 own9"] * 2
    assert made.top(0) == []
    assert made.peak_tokens(4) == [" own8"]
    assert made.num_considered == world.index.num_considered
    assert made.max[0] == world.index.max[0]
    assert made.neighbours(0) == world.index.neighbours(0)[:5]
    assert len(made.tokens) == 12
    said = read_json(made.folder / "manifest.json")
    assert said["examples_from"]["inputs"] == own.hash
    with pytest.raises(InputError, match="shared without its histogram"):
        _ = made.histogram
    other = write_index(tmp_path / "own/b", table, [codes], head)
    other.manifest["made_from"]["dictionary_hash"] = "another"
    with pytest.raises(InputError, match="examples of .* are of another dictionary"):
        compact_index(world.index, tmp_path / "b", examples=other)


def test_a_small_copy_of_features_that_never_fire(tmp_path: Path) -> None:
    positions = np.arange(6, dtype=np.int32)
    table = TokenTable(positions, positions // 3, positions % 3, positions >= 0, {})
    nothing = positions.astype(np.int64), np.zeros((6, 1), np.int64), np.zeros((6, 1), np.float32)
    silent = write_index(tmp_path / "a/toy", table, [nothing], HeadInputs(torch.eye(3), None, None))
    small = compact_index(silent, tmp_path / "b/toy")
    for index in (silent, small):
        assert index.num_active.tolist() == [0, 0, 0]
        assert index.examples(2) == index.promoted(2) == index.coactive(2) == []
        assert index.search("a") == []
        assert index.density.max() == 0
