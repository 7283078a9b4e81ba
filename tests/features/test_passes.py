"""A pass that is stopped goes on, and several processes share one: to the same indexes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.families import tiny
from tests.features.test_build import dictionary, lists

from inscape.core import StorageError
from inscape.dictionary import neurons
from inscape.features import FeatureIndex, build_indexes
from inscape.features.coactive import coactive
from inscape.features.index import ARRAYS
from inscape.features.passes import Codes, Kept, Part
from inscape.features.sparse import by_row, sort_codes
from inscape.model import Model
from inscape.training import Ranks

WORKER = """
import sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from torch import distributed
from inscape.training import Mesh
from tests.features.test_passes import build
rank, folder = sys.argv[1:]
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=int(rank), world_size=2
)
build(Path(folder) / "shared", ranks=Mesh())
distributed.destroy_process_group()
"""


def build(folder: Path, *, stop: int = -1, ranks: Ranks | None = None) -> list[FeatureIndex]:
    """Indexes of three dictionaries over a text of several pieces; a stop while the process encodes
    its piece of that number."""
    model = Model.wrap(tiny("llama"), name="tiny", bos="always")
    chosen = {
        "resid": dictionary("resid_post.1", "resid_post.1"),
        "mlp": dictionary("mlp_in.1", "mlp_out.1", seed=1),
        "neurons": neurons(model, 0),
    }
    plain, encoded = chosen["mlp"].encode, 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal encoded
        encoded += 1
        if encoded == stop:
            raise KeyboardInterrupt
        return plain(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inscape.activations.texts.PIECE_TOKENS", 300)
        patch.setattr(chosen["mlp"], "encode", counted)
        folders = {folder / name: one for name, one in chosen.items()}
        return build_indexes(model, folders, lists(120), context=16, ranks=ranks)


def assert_alike(one: Path, two: Path) -> None:
    """The same bytes in every table and array of two folders of indexes."""
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
    assert not [path for path in files if "indexing" in str(path)]
    for file in files:
        if file.suffix in (".parquet", ".npy"):
            assert (one / file).read_bytes() == (two / file).read_bytes(), file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    build(folder)
    return folder


def test_a_stopped_pass_goes_on_where_it_was(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "a", stop=4)
    (kept,) = (tmp_path / "a").iterdir()
    assert [path.name for path in kept.iterdir()] == ["part-000"]
    with (kept / "part-000/pieces.jsonl").open("a") as file:
        file.write('{"number": 3, "tok')  # as a process that was killed may leave it
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "a", stop=3)
    assert len(list(kept.iterdir())) == 2
    found = build(tmp_path / "a", stop=10)  # there are fewer left
    assert [index.dictionary for index in found] == ["toy", "toy", "mlp_act.0"]
    assert_alike(whole, tmp_path / "a")


def test_a_pass_that_is_stopped_while_indexes_are_written_reads_nothing_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inscape.features import build as building

    plain, calls = building.finish_index, 0

    def finish(*args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        plain(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(building, "finish_index", finish)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir() if p.name[0] != ".")[0] == "resid"
    build(tmp_path / "a", stop=1)
    assert_alike(whole, tmp_path / "a")


def test_two_processes_finish_what_one_began(whole: Path, tmp_path: Path, repository: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "shared", stop=3)
    (kept,) = (tmp_path / "shared").iterdir()
    before = (kept / "part-000/pieces.jsonl").read_text()
    assert len(before.splitlines()) == 2
    command = [sys.executable, "-c", WORKER]
    started = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=repository) for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    assert_alike(whole, tmp_path / "shared")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    part = Part(tmp_path / "pass", ["a"])
    from tests.features.conftest import make_table

    table = make_table(np.random.default_rng(0))
    nothing = np.zeros(len(table), np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)
    part.add(0, table, [nothing])
    part.close()
    kept = Kept(tmp_path / "pass", ["a"])
    assert kept.numbers == {0}
    assert np.array_equal(kept.table().ids, table.ids)
    assert Kept(tmp_path / "pass", ["b"]).numbers == set()
    ids = tmp_path / "pass/part-000/ids.bin"
    ids.write_bytes(ids.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"ids\.bin is half-written or corrupt; remove"):
        Kept(tmp_path / "pass", ["a"]).table()


def test_pieces_are_read_not_mapped_and_join_to_the_whole(tmp_path: Path) -> None:
    """Codes in three pieces on the disk give what the same codes give in one piece in memory."""
    draw, num = np.random.default_rng(0), 40
    part, pieces = Part(tmp_path / "pass", ["a"]), []
    from tests.features.conftest import make_table

    table = make_table(draw)
    for number in range(3):
        counts = draw.integers(0, 5, len(table)).astype(np.int32)
        fired = [np.sort(draw.permutation(num)[:count]) for count in counts]
        features = np.concatenate(fired).astype(np.int32)
        values = (draw.random(features.size) + 0.1).astype(np.float32)
        pieces.append((counts, features, values))
        part.add(number, table, [pieces[-1]])
    part.close()
    codes = Kept(tmp_path / "pass", ["a"]).codes("a", num)
    assert not any(isinstance(array, np.memmap) for _, entries in codes for array in entries)
    joined = tuple(np.concatenate(column) for column in zip(*pieces, strict=True))
    found = {}
    for name, one in (("pieces", codes), ("whole", Codes(num, [joined]))):
        folder = tmp_path / name
        folder.mkdir()
        largest = sort_codes(one, folder)
        indptr, positions, values = (np.load(folder / file) for file in ARRAYS)
        rows = by_row(one, folder)
        related = coactive(indptr, positions, rows, 3 * len(table), 5)
        found[name] = (largest, indptr, positions, values, *rows, *related)
    for one, other in zip(found["pieces"], found["whole"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert found["whole"][-1][-1] > 0  # some features do fire together
