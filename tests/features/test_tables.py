"""The tables of an index are read whole by other libraries, at a size that splits into groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from tests.features.made import write_index

from inscape.core import StorageError
from inscape.features import FeatureIndex, TokenTable
from inscape.features.logits import HeadInputs
from inscape.features.parquet import rounded

NUM_TOKENS, NUM_FEATURES, K = 40_000, 1500, 3
GROUPS = {"features": 2, "examples": 14, "tokens": 3, "vocabulary": 1}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> FeatureIndex:
    """An index whose tables all have several groups; its last feature never fires."""
    rng = np.random.default_rng(0)
    positions = np.tile(np.arange(50, dtype=np.int32), NUM_TOKENS // 50)
    documents = np.repeat(np.arange(NUM_TOKENS // 100, dtype=np.int32), 100)
    ids = rng.integers(0, 1000, NUM_TOKENS).astype(np.int32)
    texts = {i: f" tök{i}\n" for i in range(1000)}
    table = TokenTable(ids, documents, positions, positions > 0, texts)
    rows = np.flatnonzero(table.considered)
    indices = rng.integers(0, NUM_FEATURES // K, (rows.size, K)) + np.arange(K) * NUM_FEATURES // K
    values = rng.exponential(1.0, indices.shape).astype(np.float32)
    values[indices == NUM_FEATURES - 1] = 0
    head = HeadInputs(torch.randn(NUM_FEATURES, 8), torch.randn(1000, 8), None)
    folder = tmp_path_factory.mktemp("large") / "features"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inscape.features.tables.FEATURES_PER_GROUP", 1000)
        return write_index(folder / "toy", table, [(rows, indices, values)], head)


def tables(index: FeatureIndex) -> dict[str, Path]:
    tokens = index.folder.parent / index.manifest["tokens"]
    folders = (index.folder, index.folder, tokens, tokens)
    return {name: folder / f"{name}.parquet" for name, folder in zip(GROUPS, folders, strict=True)}


def test_tables_are_read_whole_by_pyarrow(large: FeatureIndex) -> None:
    for name, path in tables(large).items():
        found = pq.read_metadata(path)
        sizes = [found.row_group(n).num_rows for n in range(found.num_row_groups)]
        assert len(sizes) == GROUPS[name]
        assert len(set(sizes[:-1])) <= 1  # so that a row is found by its number
        assert pq.read_table(path).num_rows == sum(sizes) > 0
    assert pq.read_table(tables(large)["features"]).num_rows == NUM_FEATURES


def test_tables_are_read_whole_by_pandas(large: FeatureIndex) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    for name, path in tables(large).items():
        found = pandas.read_parquet(path)
        assert len(found) == pq.read_metadata(path).num_rows, name


def test_tables_are_read_whole_by_polars(large: FeatureIndex) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    for path in tables(large).values():
        found, wanted = polars.read_parquet(path), pq.read_table(path)
        for name in wanted.column_names:
            assert found[name].to_list() == wanted.column(name).to_pylist(), name


def test_tables_are_read_whole_and_joined_by_duckdb(large: FeatureIndex) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    paths = tables(large)
    for path in paths.values():
        wanted = pq.read_table(path)
        found = duckdb.sql(f"SELECT * FROM '{path}'").fetchall()
        assert len(found) == wanted.num_rows
        assert list(found[-1]) == list(wanted.slice(wanted.num_rows - 1).to_pylist()[0].values())
    # the query of docs/atlas.md: the examples of a feature with their text
    texts = duckdb.sql(
        f"""
        SELECT string_agg(v.text, '' ORDER BY t.row)
        FROM '{paths["examples"]}' e
        JOIN '{paths["tokens"]}' t
          ON t.row BETWEEN e.row - e.peak AND e.row - e.peak + len(e.activations) - 1
        JOIN '{paths["vocabulary"]}' v ON v.id = t.id
        WHERE e.feature = 1100 AND e.quantile = -1
        GROUP BY e.row, e.value ORDER BY e.value DESC
        """
    ).fetchall()
    assert sorted(text for (text,) in texts) == sorted(e.text for e in large.top(1100))


def test_examples_are_found_across_groups_and_features_at_their_ends(large: FeatureIndex) -> None:
    for feature in (0, 999, 1000, NUM_FEATURES - 2):
        found = large.examples(feature)
        rows, values = large.rows_of(feature)
        by_row = dict(zip(rows.tolist(), values.tolist(), strict=True))
        assert len(found) > 20
        assert found[0].value == pytest.approx(values.max(), rel=1e-3)
        for example in found:
            assert example.value == pytest.approx(by_row[example.row], rel=1e-3)
            assert example.token_ids[example.peak] == large.tokens.ids[example.row]
            assert example.document == large.tokens.documents[example.row]
    assert large.examples(NUM_FEATURES - 1) == []


def test_examples_are_read_without_the_rest_of_the_text(large: FeatureIndex) -> None:
    _ = large.tokens
    opened = FeatureIndex.open(large.folder)
    assert opened.examples(1100) == large.examples(1100)
    assert "tokens" not in opened.__dict__


def test_a_damaged_page_is_noticed_when_it_is_read(large: FeatureIndex, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(large.folder.parent, tmp_path / "features")
    path = tmp_path / "features/toy/examples.parquet"
    content = bytearray(path.read_bytes())
    for place in range(1000, len(content) // 2, 997):
        content[place] ^= 255
    path.write_bytes(content)
    opened = FeatureIndex.open(tmp_path / "features/toy")
    with pytest.raises(StorageError, match=r"examples\.parquet is half-written or corrupt"):
        opened.examples(0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rounding_keeps_half_precision_and_the_range(kind: Any) -> None:
    values: NDArray[Any] = np.array([0, -1.0, 1e-30, 7e8, 1 / 3, -np.pi, np.inf, np.nan], kind)
    found = rounded(values)
    np.testing.assert_allclose(found, values, rtol=2**-11)
    assert not (found[:6].view(np.uint32) & 0x1FFF).any()
